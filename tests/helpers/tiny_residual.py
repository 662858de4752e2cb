"""A detector of five convolutions with residual, concat, transposed convolution and box decode."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

PX, CELLS, CLASSES = 32, 16, 3
ANCHORS = CELLS * CELLS


@cache
def _weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(11)
    corner = np.stack(np.meshgrid(np.arange(CELLS), np.arange(CELLS)), -1).reshape(1, ANCHORS, 2) * 2.0 - 3
    # Each channel has a size of its own: scales by tensor would lose the small ones.
    size = np.geomspace(0.02, 1, 8)[:, None, None, None]
    made = {
        "stem.weight": rng.normal(0, 1, (8, 3, 3, 3)) * size,
        "stem.bias": rng.normal(0, 0.1, 8),
        "one.weight": rng.normal(0, 0.2, (8, 8, 3, 3)) * size,
        "one.bias": rng.normal(0, 0.1, 8),
        "two.weight": rng.normal(0, 0.2, (8, 8, 1, 1)),
        "two.bias": rng.normal(0, 0.1, 8),
        "up.weight": rng.normal(0, 0.2, (16, 6, 2, 2)) * np.linspace(0.1, 1, 6)[:, None, None],
        "up.bias": rng.normal(0, 0.1, 6),
        "head.weight": rng.normal(0, 1.5, (4 + CLASSES, 6, 1, 1)),
        "head.bias": rng.normal(0, 0.1, 4 + CLASSES),
        "anchors": np.concatenate([corner, corner + 8], 2),
    }
    shapes = {"flat": [1, 4 + CLASSES, ANCHORS], "first": [0], "fourth": [4], "last": [4 + CLASSES], "axis": [2]}
    return {name: value.astype(np.float32) for name, value in made.items()} | {
        name: np.array(value) for name, value in shapes.items()
    }


def residual_detector(opset: int = 19, **weights: np.ndarray) -> onnx.ModelProto:
    """`images` (1, 3, 32, 32) -> `boxes` (1, 256, 4), `scores` (1, 256, 3); `weights` go first, `.` written as `_`."""
    values = _weights() | {name.replace("_", "."): value for name, value in weights.items()}
    make = helper.make_node
    nodes = [
        make("Conv", ["images", "stem.weight", "stem.bias"], ["c0"], strides=[2, 2], pads=[1, 1, 1, 1], name="n0"),
        make("Relu", ["c0"], ["r0"]),
        make("Conv", ["r0", "one.weight", "one.bias"], ["c1"], pads=[1, 1, 1, 1], name="n1"),
        make("Relu", ["c1"], ["r1"]),
        make("Add", ["r1", "r0"], ["sum"]),
        make("Conv", ["sum", "two.weight", "two.bias"], ["c2"], name="n2"),
        make("Relu", ["c2"], ["r2"]),
        make("Concat", ["r2", "r0"], ["cat"], axis=1),
        make("ConvTranspose", ["cat", "up.weight", "up.bias"], ["c3"], strides=[2, 2], name="n3"),
        make("MaxPool", ["c3"], ["pool"], kernel_shape=[2, 2], strides=[2, 2]),
        make("Conv", ["pool", "head.weight", "head.bias"], ["c4"], name="n4"),
        make("Reshape", ["c4", "flat"], ["rows"]),
        make("Transpose", ["rows"], ["table"], perm=[0, 2, 1]),
        make("Slice", ["table", "first", "fourth", "axis"], ["moves"]),
        make("Slice", ["table", "fourth", "last", "axis"], ["logits"]),
        make("Add", ["anchors", "moves"], ["boxes"]),
        make("Sigmoid", ["logits"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, (1, 3, PX, PX))],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, (1, ANCHORS, 4)),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, (1, ANCHORS, CLASSES)),
        ],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    model.metadata_props.add(key="architecture", value="tiny")
    return model


def pictures(count: int) -> list[np.ndarray]:
    """Noise of rising brightness, (1, 3, 32, 32) float32 in 0..1."""
    rng = np.random.default_rng(12)
    return [rng.random((1, 3, PX, PX), np.float32) * np.float32((i + 1) / count) for i in range(count)]


def with_outputs(model: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    """The same network that gives these tensors, too."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    return copy
