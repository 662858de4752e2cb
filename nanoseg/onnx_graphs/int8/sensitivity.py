"""Measure how much each layer alone in INT8 changes a detector's outputs.

A layer changes only the tensors behind it: the others are computed once, in float32, and kept for a group of layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper

from nanoseg.errors import BundleError, UsageError
from nanoseg.onnx_graphs.int8.qdq import insert_qdq
from nanoseg.onnx_graphs.int8.quantize import Layer, check_layers, check_ranges, infer_shapes_by_name
from nanoseg.onnx_graphs.model.builder import IR_VERSION, OPSET
from nanoseg.onnx_graphs.model.nodes import QDQ_OPERATORS, node_inputs
from nanoseg.onnx_graphs.model.prune import prune
from nanoseg.onnx_graphs.model.run import BASIC, Session

ANCHORS = 300  # those with the highest scores; the others are never detections
GROUP_BYTES = 1 << 29  # of the tensors kept for a group of layers
OUTPUTS = ("boxes", "scores")
KEYPOINTS = "keypoints"  # a third output of a detector of poses
Tensors = dict[str, np.ndarray]


@dataclass(frozen=True)
class Sensitivity:
    """Error of the outputs with one layer in INT8 and the others in float32."""

    layer: Layer
    error: float  # change of the score, plus that of the box's sides relative to its size


def measure_sensitivity(
    model: onnx.ModelProto,
    ranges: Mapping[str, float],
    images: Sequence[np.ndarray],
    on_layer: Callable[[Layer], object] = lambda _: None,
) -> list[Sensitivity]:
    """Measure the sensitivity of every layer of a detector, the most sensitive first.

    The error is the mean over images, and over the 300 anchors with the highest float32 scores, of the largest change
    of a class's score, plus the mean change of the box's four sides relative to the box's size; of a detector of poses
    plus the mean change of the keypoints' coordinates relative to it, and of their confidences.

    Args:
        model: a float32 detector (`images` -> `boxes`, `scores`).
        ranges: the largest magnitude by tensor, from `Calibrator.ranges`.
        images: its preprocessed inputs, float32 (1, 3, S, S).
        on_layer: called after each layer.

    Raises:
        BundleError: as `quantize` does, or it is no detector.
        UsageError: there are no images.
    """
    if not images:
        raise UsageError("sensitivity: wanted images, got none")
    found = check_layers(model)
    check_ranges(model, found, ranges)
    name = model.graph.name or "network"
    given = [value.name for value in model.graph.output]
    if len(model.graph.input) != 1 or not set(given) >= set(OUTPUTS):
        raise BundleError(f"{name}: wanted a detector of one input that gives {' and '.join(OUTPUTS)}")
    input_name = model.graph.input[0].name
    session = Session(model, name, BASIC)
    wanted = [*OUTPUTS, KEYPOINTS] if KEYPOINTS in given else [*OUTPUTS]
    outputs = [session(wanted, {input_name: image}) for image in images]
    del session
    measured = []
    tails = [_Tail(model, ranges, layer, wanted) for layer in found]
    for group, feeds in _groups(model, tails, input_name, images):
        for tail in group:
            errors = [_error(*pair) for pair in zip(outputs, tail.run(name, feeds, outputs), strict=True)]
            measured.append(Sensitivity(tail.layer, float(np.mean(errors))))
            on_layer(tail.layer)
    return sorted(measured, key=lambda each: -each.error)


class _Tail:
    """The part of a network that depends on one layer in INT8."""

    def __init__(
        self, model: onnx.ModelProto, ranges: Mapping[str, float], layer: Layer, outputs: Sequence[str]
    ) -> None:
        self.layer = layer
        nodes, constants = insert_qdq(model.graph, ranges, {layer.key})
        changed: set[str] = set()
        read: set[str] = set()
        self._nodes = []
        for node in nodes:
            names = set(node_inputs(node))
            if node.op_type in QDQ_OPERATORS or changed & names:
                self._nodes.append(node)
                changed.update(node.output)
                read |= names
        self._constants = [constant for constant in constants if constant.name in read]
        # Subgraphs also read tensors that they produce themselves.
        produced = {name for node in model.graph.node for name in node.output}
        produced |= {value.name for value in model.graph.input}
        self.reads = (read & produced) - changed - {constant.name for constant in self._constants} - {""}
        self._outputs = [output for output in outputs if output in changed]

    def run(self, name: str, feeds: Sequence[Tensors], float_outputs: Sequence[Tensors]) -> Iterator[Tensors]:
        """Yield the network's outputs with this layer in INT8, for each image."""
        inputs = [
            helper.make_tensor_value_info(key, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for key, value in feeds[0].items()
            if key in self.reads
        ]
        outputs = [helper.make_tensor_value_info(key, TensorProto.FLOAT, None) for key in self._outputs]
        graph = helper.make_graph(self._nodes, name, inputs, outputs, self._constants)
        opsets = [helper.make_opsetid("", OPSET)]
        session = Session(helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION), name, BASIC)
        for feed, output in zip(feeds, float_outputs, strict=True):
            yield output | session(self._outputs, {key: feed[key] for key in self.reads})


def _groups(
    model: onnx.ModelProto, tails: Sequence[_Tail], input_name: str, images: Sequence[np.ndarray]
) -> Iterator[tuple[list[_Tail], list[Tensors]]]:
    """Yield groups of layers, in topological order, with the tensors that they read, within GROUP_BYTES."""
    shapes = infer_shapes_by_name(model)

    def size(names: set[str]) -> int:
        return sum(4 * math.prod(dim or 1 for dim in shapes.get(name, ())) for name in names) * len(images)

    pending = list(tails)
    while pending:
        group = [pending.pop(0)]
        names = set(group[0].reads)
        while pending and size(names | pending[0].reads) <= GROUP_BYTES:
            group.append(pending.pop(0))
            names |= group[-1].reads
        yield group, _compute_tensors(model, sorted(names - {input_name}), input_name, images)


def _compute_tensors(
    model: onnx.ModelProto, names: list[str], input_name: str, images: Sequence[np.ndarray]
) -> list[Tensors]:
    """Return these tensors of the float32 network, and the image, for each image."""
    feeds = [{input_name: image} for image in images]
    if not names:
        return feeds
    part = onnx.ModelProto()
    part.CopyFrom(model)
    prune(part, names)
    session = Session(part, model.graph.name or "network", BASIC)
    del part
    return [{**feed, **session(names, feed)} for feed in feeds]


def _error(float32: Tensors, int8: Tensors) -> float:
    """Return the error between two outputs for one image."""
    best = float32["scores"][0].max(1)
    rows = np.argsort(-best, kind="stable")[:ANCHORS]
    scores = np.abs(int8["scores"][0, rows] - float32["scores"][0, rows]).max(1)
    boxes = float32["boxes"][0, rows]
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1)  # a box may be empty
    moved = np.abs(int8["boxes"][0, rows] - boxes).mean(1) / np.sqrt(sides.prod(1))
    error = float(scores.mean() + moved.mean())
    if KEYPOINTS in float32:
        change = np.abs(int8[KEYPOINTS][0, rows] - float32[KEYPOINTS][0, rows]).mean(1)
        error += float((change[:, :2].mean(1) / np.sqrt(sides.prod(1)) + change[:, 2]).mean())
    return error
