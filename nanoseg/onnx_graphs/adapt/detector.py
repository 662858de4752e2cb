"""A detector made elsewhere -> one that meets the DETECTOR contract, by a few nodes around it.

Its weights are not touched: a network with Q/DQ nodes, trained so elsewhere, computes what it computed there.
"""

from __future__ import annotations

from pathlib import Path

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


def load_detector(path: str | Path, form: DetectorSpec | None = None, size_px: int | None = None) -> SourceNetwork:
    """Read a detector and make it meet DETECTOR; `form` says what its file does not, `size_px` a side left open.

    Without a form it must take RGB in 0..1 and give corners in pixels and probabilities, as YOLO-NAS does, under
    any names. Raises BundleError for what does not fit.
    """
    path = Path(path)
    model = read_model(path)
    has = {value.name for value in model.graph.output}
    if form is None and DETECTOR[1].keys() <= has and [value.name for value in model.graph.input] == ["images"]:
        _settle_input(path, model, InputSpec(), False, size_px)
        return _of_size(check_network(path, model, DETECTOR), size_px)
    described, form = form is not None, form or DetectorSpec()
    if form.outputs.names:
        try:
            prune(model, form.outputs.names)
        except KeyError as error:
            raise BundleError(f"{path}: the form wants {error}, got a network with {', '.join(sorted(has))}") from error
    model = to_supported_opset(path, model)
    side = _settle_input(path, model, form.input, described, size_px)
    model = infer_output_shapes(path, simplify(model), {})
    outputs = form.outputs
    if not outputs.names and described and len(model.graph.output) == 1:
        outputs = _named(outputs, joint=model.graph.output[0].name)
    elif not outputs.names:
        boxes, scores = infer_boxes_and_scores(path, model)
        outputs = _named(outputs, boxes=boxes, scores=scores)
        prune(model, outputs.names)
    return _of_size(check_network(path, _adapted(path, model, form.input, outputs, side), DETECTOR), size_px)


def _of_size(detector: SourceNetwork, size_px: int | None) -> SourceNetwork:
    if size_px not in (None, detector.dims["S"]):
        raise BundleError(f"{detector.path}: wanted an input of {size_px} px, got one fixed at {detector.dims['S']}")
    return detector


def _named(outputs: OutputSpec, **names: str) -> OutputSpec:
    fields = {name: getattr(outputs, name) for name in outputs.__struct_fields__}
    return OutputSpec(**(fields | names))


def _settle_input(path: Path, model: onnx.ModelProto, form: InputSpec, described: bool, size_px: int | None) -> int:
    """Fix what is open of the one input; returns the side of its square."""
    names = [value.name for value in model.graph.input]
    wanted = f"the input {form.name}" if form.name else "one input"
    if len(names) != 1 or names[0] != (form.name or names[0]):
        raise BundleError(f"{path}: wanted {wanted}, a picture, got {', '.join(names) or 'none'}")
    px = size_px or form.size_px
    set_input_dims(model, {names[0]: (1, 3, px, px) if form.layout == "nchw" else (1, px, px, 3)})
    value = model.graph.input[0]
    got, dtype = shape_of(value), dtype_of(value)
    height, width = (got[2:] if form.layout == "nchw" else got[1:3]) if len(got) == 4 else (None, None)
    told = f"'{value.name}' wants {format_shape((1, 3, 'S', 'S') if form.layout == 'nchw' else (1, 'S', 'S', 3))}"
    if height is None and width is None and len(got) == 4:
        raise BundleError(
            f"{path}: {told}, got {format_shape(got)}; give its side: --size PX, or size_px in --detector-spec"
        )
    if not height or got != ((1, 3, height, height) if form.layout == "nchw" else (1, height, height, 3)):
        raise BundleError(f"{path}: {told}, got {format_shape(got)}")
    if dtype == TensorProto.UINT8:
        if not described:
            raise BundleError(
                f"{path}: '{value.name}' wants float32 in 0 to 1, got uint8: its preprocessing is inside; export it "
                "without (super-gradients: preprocessing=False), or tell its colour in --detector-spec"
            )
        if form.scale not in (None, 1) or any(form.mean) or set(form.std) != {1.0}:
            raise BundleError(f"{path}: '{value.name}' is uint8: wanted a form without scale, mean and std, got some")
    elif dtype not in FLOATS:
        raise BundleError(f"{path}: '{value.name}' wants float32, float16 or uint8, got {dtype_name(dtype)}")
    return height


def _adapted(path: Path, model: onnx.ModelProto, form: InputSpec, outputs: OutputSpec, side: int) -> onnx.ModelProto:
    graph = model.graph
    # Whatever its tensors are called, none is called as one of ours.
    inner = {name for node in graph.node for name in node.output} | {weight.name for weight in graph.initializer}
    rename_tensors(model, {name: f"detector/{name}" for name in (*inner, graph.input[0].name)})
    before, after = GraphBuilder("nanoseg/before"), GraphBuilder("nanoseg/after")
    picture = add_input_nodes(before, model, form)
    rename_tensors(model, {graph.input[0].name: picture})
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
