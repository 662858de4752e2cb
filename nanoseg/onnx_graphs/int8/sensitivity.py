"""How much each layer alone in INT8 moves a detector's answers.

A layer changes only what comes after it: the rest is computed once, in float32, and kept for a stretch of layers.
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
from nanoseg.onnx_graphs.int8.quantize import Layer, check_layers, check_ranges, known_shapes
from nanoseg.onnx_graphs.model.builder import IR_VERSION, OPSET
from nanoseg.onnx_graphs.model.nodes import QDQ_OPERATORS, node_inputs
from nanoseg.onnx_graphs.model.prune import prune
from nanoseg.onnx_graphs.model.run import BASIC, Session

ANCHORS = 300  # those that a detector's answer is made of
KEPT_BYTES = 1 << 29
OUTPUTS = ("boxes", "scores")
Tensors = dict[str, np.ndarray]


@dataclass(frozen=True)
class Sensitivity:
    """What one layer in INT8 costs, the others in float32."""

    layer: Layer
    error: float  # change of score, plus of a box's sides in parts of its size


def measure_sensitivity(
    model: onnx.ModelProto,
    ranges: Mapping[str, float],
    pictures: Sequence[np.ndarray],
    on_layer: Callable[[Layer], object] = lambda _: None,
) -> list[Sensitivity]:
    """Every layer of a detector (`images` -> `boxes`, `scores`), the most harmful first.

    The error is the mean over pictures, and over the 300 anchors with the highest float32 scores, of the largest change
    of a class's score, plus that of the box's four sides in parts of the box's size. `on_layer` is called after each.
    Raises as `quantize` does, and UsageError without pictures.
    """
    if not pictures:
        raise UsageError("sensitivity: wanted pictures, got none")
    found = check_layers(model)
    check_ranges(model, found, ranges)
    name = model.graph.name or "network"
    if len(model.graph.input) != 1 or not {value.name for value in model.graph.output} >= set(OUTPUTS):
        raise BundleError(f"{name}: wanted a detector of one input that gives {' and '.join(OUTPUTS)}")
    image = model.graph.input[0].name
    session = Session(model, name, BASIC)
    answers = [session(OUTPUTS, {image: picture}) for picture in pictures]
    del session
    measured = []
    rests = [_Rest(model, ranges, layer) for layer in found]
    for stretch, feeds in _stretches(model, rests, image, pictures):
        for rest in stretch:
            errors = [_error(*pair) for pair in zip(answers, rest.run(name, feeds, answers), strict=True)]
            measured.append(Sensitivity(rest.layer, float(np.mean(errors))))
            on_layer(rest.layer)
    return sorted(measured, key=lambda each: -each.error)


class _Rest:
    """The part of a network that one layer in INT8 has a say in."""

    def __init__(self, model: onnx.ModelProto, ranges: Mapping[str, float], layer: Layer) -> None:
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
        # Inner graphs also read what they make themselves.
        made = {name for node in model.graph.node for name in node.output} | {each.name for each in model.graph.input}
        self.reads = (read & made) - changed - {constant.name for constant in self._constants} - {""}
        self._gives = [output for output in OUTPUTS if output in changed]

    def run(self, name: str, feeds: Sequence[Tensors], answers: Sequence[Tensors]) -> Iterator[Tensors]:
        """The network's answers with this layer in INT8, for each picture."""
        inputs = [
            helper.make_tensor_value_info(key, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for key, value in feeds[0].items()
            if key in self.reads
        ]
        outputs = [helper.make_tensor_value_info(key, TensorProto.FLOAT, None) for key in self._gives]
        graph = helper.make_graph(self._nodes, name, inputs, outputs, self._constants)
        opsets = [helper.make_opsetid("", OPSET)]
        session = Session(helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION), name, BASIC)
        for feed, answer in zip(feeds, answers, strict=True):
            yield answer | session(self._gives, {key: feed[key] for key in self.reads})


def _stretches(
    model: onnx.ModelProto,
    waiting: Sequence[_Rest],
    image: str,
    pictures: Sequence[np.ndarray],
) -> Iterator[tuple[list[_Rest], list[Tensors]]]:
    """The layers in running order, by as many as what they read of all pictures may be kept for at once."""
    shapes = known_shapes(model)

    def size(names: set[str]) -> int:
        return sum(4 * math.prod(side or 1 for side in shapes.get(name, ())) for name in names) * len(pictures)

    waiting = list(waiting)
    while waiting:
        stretch = [waiting.pop(0)]
        names = set(stretch[0].reads)
        while waiting and size(names | waiting[0].reads) <= KEPT_BYTES:
            stretch.append(waiting.pop(0))
            names |= stretch[-1].reads
        yield stretch, _computed(model, sorted(names - {image}), image, pictures)


def _computed(model: onnx.ModelProto, names: list[str], image: str, pictures: Sequence[np.ndarray]) -> list[Tensors]:
    """These tensors of the float32 network, and the picture, for each picture."""
    given = [{image: picture} for picture in pictures]
    if not names:
        return given
    upto = onnx.ModelProto()
    upto.CopyFrom(model)
    prune(upto, names)
    session = Session(upto, model.graph.name or "network", BASIC)
    del upto
    return [{**feed, **session(names, feed)} for feed in given]


def _error(float32: Tensors, int8: Tensors) -> float:
    """Between two answers for one picture."""
    best = float32["scores"][0].max(1)
    rows = np.argsort(-best, kind="stable")[:ANCHORS]
    scores = np.abs(int8["scores"][0, rows] - float32["scores"][0, rows]).max(1)
    boxes = float32["boxes"][0, rows]
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1)  # a box may be empty
    moved = np.abs(int8["boxes"][0, rows] - boxes).mean(1) / np.sqrt(sides.prod(1))
    return float(scores.mean() + moved.mean())
