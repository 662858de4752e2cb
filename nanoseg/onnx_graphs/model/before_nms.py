"""Find the boxes and scores that a network's NMS operator reads, for the message that refuses the operator."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from onnx import helper

from nanoseg.onnx_graphs.model.load import is_nms
from nanoseg.onnx_graphs.model.nodes import node_inputs
from nanoseg.onnx_graphs.model.shapes import Dims, format_shape, shape_of

_MOST = 2  # candidates named for each


def advice_before_nms(model: onnx.ModelProto) -> str:
    """Return which tensors before NMS to name in a detector spec, or why none can be."""
    producers = {output: node for node in model.graph.node for output in node.output}
    shapes = _shapes(model)
    weights = {weight.name for weight in model.graph.initializer}
    boxes: dict[str, Dims] = {}
    scores: dict[str, Dims] = {}
    is_centres = False
    for node in (node for node in model.graph.node if is_nms(node) and len(node.input) > 1):
        options = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        is_centres = is_centres or options.get("center_point_box") == 1
        above = [_above(name, producers, weights) for name in node.input[:2]]
        near = {name: shapes[name] for name in above[0] if _is_table(shapes.get(name)) and shapes[name][2] == 4}
        lengths = {shape[1] for shape in near.values()}
        boxes |= near
        scores |= {
            name: shapes[name]
            for name in above[1]
            if name not in near and _is_table(shapes.get(name)) and shapes[name][1] in lengths
        }
    if not boxes or not scores:
        return "no tensors before it have the shapes of boxes (1, A, 4) and scores (1, A, C)"
    form = ', and box_form = "cxcywh"' if is_centres else ""
    return (
        "or name the tensors before it under [outputs] of --detector-spec: "
        f"boxes = {_listed(boxes)}, scores = {_listed(scores)}{form}"
    )


def _shapes(model: onnx.ModelProto) -> Mapping[str, Dims]:
    try:
        graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception:  # of other people's networks; onnx's errors have no public base
        graph = model.graph
    return {value.name: shape_of(value) for value in (*graph.value_info, *graph.output)}


def _above(name: str, producers: Mapping[str, onnx.NodeProto], weights: set[str]) -> list[str]:
    """Return a tensor and those that it is computed from, the nearest first, without constants."""
    found, seen = [name], {name}
    for each in found:
        for other in node_inputs(producers[each]) if each in producers else ():
            if other and other not in seen and other not in weights:
                seen.add(other)
                found.append(other)
    return [each for each in found if each in producers and producers[each].op_type != "Constant"]


def _is_table(shape: Dims | None) -> bool:
    return shape is not None and len(shape) == 3 and shape[0] in (1, None) and shape[1] != 1 and shape[2] != 1


def _listed(tensors: Mapping[str, Dims]) -> str:
    return " or ".join(f'"{name}" {format_shape(shape)}' for name, shape in list(tensors.items())[:_MOST])
