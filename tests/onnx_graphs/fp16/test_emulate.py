"""float16 emulated on a CPU: every float16 tensor is rounded, as on a GPU."""

import numpy as np
import onnx

from nanoseg.onnx_graphs.fp16.emulate import emulate_fp16
from nanoseg.onnx_graphs.fp16.to_fp16 import to_fp16
from tests.helpers.onnx_run import run
from tests.helpers.small_graphs import CONV, CONV_WEIGHTS, HALF, SHAPE, network, node, some, weights


def test_emulate_rounds_as_numpy() -> None:
    """An oracle of every bit: numpy's float16 rounds each of these operators once, too."""
    a, b = weights(1, 4, 1, 1, seed=3), weights(1, 4, 1, 1, seed=4)
    model = network([node("Mul", "x a", "m"), node("Add", "m b", "s"), node("Relu", "s", "y")], a=a, b=b)
    x = some(5, 30.0)
    want = np.maximum(x.astype(np.float16) * a.astype(np.float16) + b.astype(np.float16), 0).astype(np.float32)
    np.testing.assert_array_equal(run(emulate_fp16(to_fp16(model)), x=x)["y"], want)


def test_emulate_overflows_as_a_gpu() -> None:
    """ONNX Runtime keeps float32 between operators that it has no float16 of, and never sees it."""
    big = (np.eye(4)[:, :, None, None] * 300).astype(np.float32)
    model = network(
        [node("Conv", "x w", "a"), node("Conv", "a w", "b"), node("Mul", "b s", "y")], w=big, s=1 / 300.0
    )  # fmt: skip
    x = np.ones(SHAPE, np.float32)
    assert np.isinf(run(emulate_fp16(to_fp16(model)), x=x)["y"]).all()
    assert np.isfinite(run(to_fp16(model), x=x)["y"]).all()


def test_emulate_keeps_float16_inputs_and_outputs() -> None:
    model = to_fp16(network([CONV, node("Relu", "c", "y")], **CONV_WEIGHTS))
    first, *others, last = model.graph.node
    assert (first.op_type, last.op_type) == ("Cast", "Cast")
    del model.graph.node[:]
    model.graph.node.extend(others)
    model.graph.input[0].name, model.graph.output[0].name = first.output[0], last.input[0]
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.elem_type = HALF
    exact = emulate_fp16(model)
    assert [exact.graph.input[0].type, exact.graph.output[0].type] == [
        model.graph.input[0].type,
        model.graph.output[0].type,
    ]
    onnx.checker.check_model(exact, full_check=True)
    x = some().astype(np.float16)
    got = run(exact, **{first.output[0]: x})[last.input[0]]
    assert got.dtype == np.float16
    np.testing.assert_allclose(got, run(model, **{first.output[0]: x})[last.input[0]], rtol=5e-3, atol=1e-3)


def test_emulate_leaves_float32_networks() -> None:
    model = network([CONV, node("Relu", "c", "y")], **CONV_WEIGHTS)
    assert emulate_fp16(model) is model
