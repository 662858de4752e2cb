"""What a composed graph says of itself."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from nanoseg.graphs.compose import precision_of
from nanoseg.graphs.simplify import not_in_tensorrt


def graph(half: int, single: int, raw: bool = True, ops: tuple[str, ...] = ("Relu",)) -> onnx.ModelProto:
    """Weights of so many numbers in float16 and float32, and nodes of these operators."""
    arrays = {"half": np.ones(half, np.float16), "single": np.ones(single, np.float32)}
    weights = [
        numpy_helper.from_array(array, name) if raw else helper.make_tensor(name, kind, array.shape, array)
        for (name, array), kind in zip(arrays.items(), (onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT), strict=True)
    ]
    return helper.make_model(
        helper.make_graph([helper.make_node(op, ["x"], ["y"]) for op in ops], "g", [], [], weights)
    )


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize(
    ("half", "single", "precision"), [(0, 0, "fp32"), (0, 9, "fp32"), (9, 0, "fp16"), (10, 9, "fp16"), (9, 10, "fp32")]
)
def test_precision_is_what_most_weights_have(half: int, single: int, precision: str, raw: bool) -> None:
    assert precision_of(graph(half, single, raw)) == precision


def test_a_graph_with_dequantized_weights_is_int8() -> None:
    assert precision_of(graph(0, 9, ops=("DequantizeLinear",))) == "int8"


def test_operators_that_tensorrt_lacks_are_named_once() -> None:
    assert not_in_tensorrt(graph(0, 0, ops=("OneHot", "Relu", "If", "OneHot"))) == ["If", "OneHot"]
    assert not_in_tensorrt(graph(0, 0)) == []
