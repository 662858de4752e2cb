"""Adapter for detectors of other exporters: a few nodes around a network make it fulfil the DETECTOR contract.

Weights are not changed: a network that was trained with Q/DQ nodes computes the same as before.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import onnx
from onnx import TensorProto

from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.adapt.detector_nodes import add_input_nodes, add_output_nodes
from nanoseg.onnx_graphs.adapt.detector_spec import DetectorSpec, InputSpec, OutputSpec
from nanoseg.onnx_graphs.adapt.infer_outputs import infer_boxes_and_scores
from nanoseg.onnx_graphs.model.builder import GraphBuilder, build_model, tensor_info
from nanoseg.onnx_graphs.model.contract import DETECTOR, SourceNetwork, check_network
from nanoseg.onnx_graphs.model.load import read_model
from nanoseg.onnx_graphs.model.opset import to_supported_opset
from nanoseg.onnx_graphs.model.prune import prune, rename_tensors
from nanoseg.onnx_graphs.model.shapes import (
    FLOATS,
    dtype_name,
    dtype_of,
    format_shape,
    infer_output_shapes,
    set_input_dims,
    shape_of,
)
from nanoseg.onnx_graphs.model.simplify import simplify


def load_detector(path: str | Path, spec: DetectorSpec | None = None, size_px: int | None = None) -> SourceNetwork:
    """Load a detector and adapt it to the DETECTOR contract.

    Args:
        path: an ONNX file.
        spec: the detector's input and outputs. Without one it must take RGB in 0..1 and return corners in pixels and
            probabilities, as YOLO-NAS does, under any names.
        size_px: side of its square input, where the file leaves it open.

    Raises:
        BundleError: the network does not fit; the message names file and tensor.
    """
    path = Path(path)
    model = read_model(path)
    names = {value.name for value in model.graph.output}
    if spec is None and DETECTOR[1].keys() <= names and [value.name for value in model.graph.input] == ["images"]:
        _fix_input_dims(path, model, InputSpec(), False, size_px)
        return _with_size(check_network(path, model, DETECTOR), size_px)
    has_spec, spec = spec is not None, spec or DetectorSpec()
    if spec.outputs.names:
        try:
            prune(model, spec.outputs.names)
        except KeyError as error:
            raise BundleError(
                f"{path}: the detector spec wants {error}, got a network with {', '.join(sorted(names))}"
            ) from error
    model = to_supported_opset(path, model)
    side = _fix_input_dims(path, model, spec.input, has_spec, size_px)
    model = infer_output_shapes(path, simplify(model), {})
    outputs = spec.outputs
    if not outputs.names and has_spec and len(model.graph.output) == 1:
        outputs = msgspec.structs.replace(outputs, joint=model.graph.output[0].name)
    elif not outputs.names:
        boxes, scores = infer_boxes_and_scores(path, model)
        outputs = msgspec.structs.replace(outputs, boxes=boxes, scores=scores)
        prune(model, outputs.names)
    return _with_size(check_network(path, _adapt(path, model, spec.input, outputs, side), DETECTOR), size_px)


def _with_size(detector: SourceNetwork, size_px: int | None) -> SourceNetwork:
    """Return the detector; raises BundleError where its input has another side than the wanted one."""
    if size_px not in (None, detector.dims["S"]):
        raise BundleError(f"{detector.path}: wanted an input of {size_px} px, got one fixed at {detector.dims['S']}")
    return detector


def _fix_input_dims(path: Path, model: onnx.ModelProto, spec: InputSpec, has_spec: bool, size_px: int | None) -> int:
    """Check the one input, fix its dynamic dims in place, and return the side of its square."""
    names = [value.name for value in model.graph.input]
    wanted = f"the input {spec.name}" if spec.name else "one input"
    if len(names) != 1 or names[0] != (spec.name or names[0]):
        raise BundleError(f"{path}: wanted {wanted}, an image, got {', '.join(names) or 'none'}")
    px = size_px or spec.size_px
    set_input_dims(model, {names[0]: (1, 3, px, px) if spec.layout == "nchw" else (1, px, px, 3)})
    value = model.graph.input[0]
    got, dtype = shape_of(value), dtype_of(value)
    height, width = (got[2:] if spec.layout == "nchw" else got[1:3]) if len(got) == 4 else (None, None)
    shape = format_shape((1, 3, "S", "S") if spec.layout == "nchw" else (1, "S", "S", 3))
    mismatch = f"'{value.name}' wants {shape}, got {format_shape(got)}"
    if height is None and width is None and len(got) == 4:
        raise BundleError(f"{path}: {mismatch}; give its side: --size PX, or size_px in --detector-spec")
    if not height or got != ((1, 3, height, height) if spec.layout == "nchw" else (1, height, height, 3)):
        raise BundleError(f"{path}: {mismatch}")
    if dtype == TensorProto.UINT8:
        if not has_spec:
            raise BundleError(
                f"{path}: '{value.name}' wants float32 in 0 to 1, got uint8: its preprocessing is inside; export it "
                "without (super-gradients: preprocessing=False), or give its colour in --detector-spec"
            )
        if spec.scale not in (None, 1) or any(spec.mean) or set(spec.std) != {1.0}:
            raise BundleError(
                f"{path}: '{value.name}' is uint8: wanted a detector spec without scale, mean and std, got some"
            )
    elif dtype not in FLOATS:
        raise BundleError(f"{path}: '{value.name}' wants float32, float16 or uint8, got {dtype_name(dtype)}")
    return height


def _adapt(path: Path, model: onnx.ModelProto, spec: InputSpec, outputs: OutputSpec, side: int) -> onnx.ModelProto:
    """Return a model of the network with its adapting nodes before and after it."""
    graph = model.graph
    # The prefix keeps the network's tensors apart from the contract's.
    inner = {name for node in graph.node for name in node.output} | {weight.name for weight in graph.initializer}
    rename_tensors(model, {name: f"detector/{name}" for name in (*inner, graph.input[0].name)})
    before, after = GraphBuilder("nanoseg/before"), GraphBuilder("nanoseg/after")
    input_name = add_input_nodes(before, model, spec)
    rename_tensors(model, {graph.input[0].name: input_name})
    anchors, classes = add_output_nodes(after, path, model, outputs, side)
    adapted = build_model(
        "detector",
        [tensor_info("images", np.float32, (1, 3, side, side))],
        [tensor_info("boxes", np.float32, (1, anchors, 4)), tensor_info("scores", np.float32, (1, anchors, classes))],
        [*before.nodes, *graph.node, *after.nodes],
        [*before.constants, *graph.initializer, *after.constants],
    )
    adapted.metadata_props.extend(model.metadata_props)
    return adapted
