"""Multiply-adds of a TensorRT network, by precision."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from nanoseg.backends.tensorrt.build.multiply_adds import multiply_adds
from nanoseg.backends.tensorrt.build.network import parse

WEIGHTS = {
    "grouped": np.ones((8, 2, 3, 3), np.float32),
    "up": np.ones((8, 5, 2, 2), np.float32),
    "columns": np.ones((20, 7), np.float32),
    "quantized": np.ones((4, 4, 1, 1), np.int8),
    "scale": np.float32(0.5),
    "zero": np.int8(0),
}
NODES = [
    ("QuantizeLinear", ["x", "scale", "zero"], "q"),
    ("DequantizeLinear", ["q", "scale", "zero"], "read"),
    ("DequantizeLinear", ["quantized", "scale", "zero"], "kernel"),
    ("Conv", ["read", "kernel"], "int8"),  # 10 x 10 positions, 4 x 4 channels
    ("Conv", ["int8", "grouped"], "conv"),  # 8 x 8 positions, 8 channels of 2, 9 cells
    ("ConvTranspose", ["conv", "up"], "larger"),  # 8 x 8 positions, 8 x 5 channels, 4 cells
    ("Reshape", ["larger", "rows"], "flat"),
    ("MatMul", ["flat", "columns"], "y"),  # 64 rows of 20, 7 columns
]


def test_multiply_adds_by_precision():
    rtx = pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
    nodes = [helper.make_node(op, read, [out], **({"group": 2} if out == "conv" else {})) for op, read, out in NODES]
    nodes[5].attribute.append(helper.make_attribute("strides", [2, 2]))
    weights = [numpy_helper.from_array(value, name) for name, value in {**WEIGHTS, "rows": np.array([64, 20])}.items()]
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", (1, 4, 10, 10)), ("y", (64, 7)))
    )
    graph = helper.make_graph(nodes, "small", [x], [y], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    logger = rtx.Logger(rtx.Logger.ERROR)
    network, _parser = parse(rtx, rtx.Builder(logger), logger, [], model.SerializeToString(), "small")
    assert multiply_adds(rtx, network) == {"int8": 1600, "fp32": 64 * 8 * 2 * 9 + 64 * 8 * 5 * 4 + 64 * 20 * 7}
