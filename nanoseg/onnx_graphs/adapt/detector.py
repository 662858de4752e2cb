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
from nanoseg.onnx_graphs.adapt.constant_inputs import fill_constant_inputs
from nanoseg.onnx_graphs.adapt.detector_nodes import add_input_nodes, add_output_nodes
from nanoseg.onnx_graphs.adapt.detector_spec import DetectorSpec, InputSpec, OutputSpec
from nanoseg.onnx_graphs.adapt.end2end import add_end2end_nodes
from nanoseg.onnx_graphs.adapt.infer_outputs import infer_boxes_and_scores, infer_rows
from nanoseg.onnx_graphs.adapt.nms_plugin import outputs_before_plugin
from nanoseg.onnx_graphs.adapt.output_form import decide_form
from nanoseg.onnx_graphs.model.builder import GraphBuilder, Shape, build_model, tensor_info
from nanoseg.onnx_graphs.model.contract import DETECTOR, END2END, NEEDS_NMS, POSE_DETECTOR, SourceNetwork, check_network
from nanoseg.onnx_graphs.model.load import read_model
from nanoseg.onnx_graphs.model.opset import to_supported_opset
from nanoseg.onnx_graphs.model.prune import prune, rename_tensors
from nanoseg.onnx_graphs.model.quantization import check_quantization
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

KEYPOINTS = "keypoints"  # the output of YOLO-NAS-Pose beside those of a detector


def load_detector(path: str | Path, spec: DetectorSpec | None = None, size_px: int | None = None) -> SourceNetwork:
    """Load a detector and adapt it to the DETECTOR contract; one that gives `keypoints`, too, to POSE_DETECTOR.

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
    has_spec, spec = spec is not None, spec or DetectorSpec()
    fill_constant_inputs(path, model, spec, size_px)
    if not has_spec and _fulfils_contract(model):
        _fix_input_dims(path, model, InputSpec(), False, size_px)
        has_keypoints = any(value.name == KEYPOINTS for value in model.graph.output)
        return _with_size(check_network(path, model, POSE_DETECTOR if has_keypoints else DETECTOR), size_px)
    if not spec.outputs.names and (before_nms := outputs_before_plugin(path, model, spec.outputs)) is not None:
        spec = msgspec.structs.replace(spec, outputs=before_nms)
    if spec.outputs.names:
        names = ", ".join(sorted(value.name for value in model.graph.output))
        try:
            prune(model, spec.outputs.names)
        except KeyError as error:
            raise BundleError(f"{path}: the detector spec wants {error}, got a network with {names}") from error
    check_quantization(path, model)
    model = to_supported_opset(path, model)
    side = _fix_input_dims(path, model, spec.input, has_spec, size_px)
    model = infer_output_shapes(path, simplify(model), {})
    outputs = _choose_outputs(path, model, spec, side, has_spec)
    prune(model, outputs.names)
    contract = END2END if outputs.form == "end2end" else DETECTOR
    return _with_size(check_network(path, _adapt(path, model, spec.input, outputs, side), contract), size_px)


def _fulfils_contract(model: onnx.ModelProto) -> bool:
    """Return whether inputs and outputs have the names of the DETECTOR contract, and no output looks like class ids."""
    outputs = {value.name: shape_of(value) for value in model.graph.output}
    others = [shape for name, shape in outputs.items() if name not in DETECTOR[1] and name != KEYPOINTS]
    return (
        DETECTOR[1].keys() <= outputs.keys()
        and [value.name for value in model.graph.input] == ["images"]
        and all(len(shape) == 3 and shape[2] != 1 for shape in others)
    )


def _choose_outputs(path: Path, model: onnx.ModelProto, spec: DetectorSpec, side: int, has_spec: bool) -> OutputSpec:
    """Return the output spec with the names and the form of the outputs, those that it does not state inferred."""
    outputs, single = spec.outputs, len(model.graph.output) == 1
    if not outputs.names and (rows := infer_rows(path, model)) is not None:
        stated = {key: getattr(outputs, key) for key in ("box_form", "normalised", "activation", "background", "nms")}
        outputs = msgspec.structs.replace(rows, **stated)
    elif not outputs.names and single:
        outputs = msgspec.structs.replace(outputs, joint=model.graph.output[0].name)
    elif not outputs.names:
        boxes, scores = infer_boxes_and_scores(path, model)
        outputs = msgspec.structs.replace(outputs, boxes=boxes, scores=scores)
    outputs = decide_form(path, model, msgspec.structs.replace(spec, outputs=outputs), side)
    if not has_spec and outputs.joint and outputs.form != "end2end":
        infer_boxes_and_scores(path, model)  # raises: one output is not two
    return outputs


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
        others = [name for name in names if name != (spec.name or names[0])] if spec.name in (None, *names) else []
        advice = "; give a constant for each other one under [constants] of --detector-spec, such as "
        advice = f"{advice}{' or '.join(f'{name} = 1' for name in others)}" if others else ""
        raise BundleError(f"{path}: wanted {wanted}, an image, got {', '.join(names) or 'none'}{advice}")
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
    if outputs.form == "end2end":
        anchors = add_end2end_nodes(after, path, model, outputs, side)
        shapes: dict[str, Shape] = {"boxes": (1, anchors, 4), "scores": (1, anchors), "class_ids": (1, anchors)}
    else:
        anchors, classes = add_output_nodes(after, path, model, outputs, side)
        shapes = {"boxes": (1, anchors, 4), "scores": (1, anchors, classes)}
    adapted = build_model(
        "detector",
        [tensor_info("images", np.float32, (1, 3, side, side))],
        [tensor_info(name, np.float32, shape) for name, shape in shapes.items()],
        [*before.nodes, *graph.node, *after.nodes],
        [*before.constants, *graph.initializer, *after.constants],
    )
    adapted.metadata_props.extend(entry for entry in model.metadata_props if entry.key != NEEDS_NMS)
    if outputs.form == "end2end":
        adapted.metadata_props.add(key=NEEDS_NMS, value="yes" if outputs.nms else "no")
    return adapted
