"""Producers, weights and Q/DQ pairs of a quantized network."""

import numpy as np
import onnx
from onnx import numpy_helper

from nanoseg.onnx_graphs.int8.calibrate import Calibrator
from tests.helpers.tiny_residual import pictures

NAMES = ["stem", "one", "two", "head"]


def ranges_of(model: onnx.ModelProto) -> dict[str, float]:
    calibrator = Calibrator(model, "minmax")
    for picture in pictures(4):
        calibrator.add(picture)
    return calibrator.ranges()


class GraphIndex:
    """Producers and weights of a network by tensor name."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes = list(model.graph.node)
        self.producer = {name: node for node in self.nodes for name in node.output}
        self.weights = {weight.name: numpy_helper.to_array(weight) for weight in model.graph.initializer}
        self.types = {weight.name: weight.data_type for weight in model.graph.initializer}

    def by_key(self, key: str) -> onnx.NodeProto:
        return self.producer[key]

    def quantized(self, name: str) -> str | None:
        """Return the tensor behind whose Q/DQ pair this one is; None where there is no pair."""
        dq = self.producer.get(name)
        if dq is None or dq.op_type != "DequantizeLinear" or dq.input[0] not in self.producer:
            return None
        q = self.producer[dq.input[0]]
        assert q.op_type == "QuantizeLinear"
        assert list(q.input[1:]) == list(dq.input[1:])
        return q.input[0]

    def weight(self, key: str) -> np.ndarray:
        """Return a layer's weight in float32, dequantized by numpy."""
        name = self.producer[key].input[1]
        if name in self.weights:
            return self.weights[name]
        dq = self.producer[name]
        axis = next(attribute.i for attribute in dq.attribute if attribute.name == "axis")
        steps, scales = self.weights[dq.input[0]], self.weights[dq.input[1]]
        shape = [-1 if at == axis else 1 for at in range(steps.ndim)]
        assert steps.dtype == np.int8
        return steps.astype(np.float32) * scales.astype(np.float32).reshape(shape)


def float_weight(model: onnx.ModelProto, name: str) -> np.ndarray:
    return next(numpy_helper.to_array(weight) for weight in model.graph.initializer if weight.name == name)
