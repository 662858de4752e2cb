"""The fake of TensorRT's runtime: what it computes, and when."""

import numpy as np

from tests.fakes.laws.tensorrt_bench import X
from tests.fakes.tensorrt_platforms import FLOAT, graph_of
from tests.fakes.tensorrt_runtime import ExecutionContextAllocationStrategy, fake_plan


def test_fake_tensorrt_enqueue_takes_shapes_and_addresses(clean):
    clean.set("x", X)
    clean.set("k", 2)
    assert clean.enqueue()
    other = clean.gpu.device_buffer(16)
    assert clean.context.set_input_shape("x", (1, 4))
    assert clean.context.set_tensor_address("y", other.address)
    clean.stream.synchronize()
    np.testing.assert_array_equal(clean.get("y"), X * 2)


def test_fake_tensorrt_rounds_at_q_dq(clean):
    """ONNX Runtime would make one integer multiplication of it, which rounds once."""
    nodes = [
        ("QuantizeLinear", ["x", "scale", "zero"], ["q"], {}),
        ("DequantizeLinear", ["q", "scale", "zero"], ["d"], {}),
        ("MatMul", ["d", "w"], ["y"], {}),
    ]
    constants = {"scale": np.float32(0.5), "zero": np.int8(0), "w": np.full((4, 4), 1 / 3, np.float32)}
    graph = graph_of({"x": (FLOAT, (1, 4))}, {"y": (FLOAT, (1, 4))}, nodes, constants)
    engine = clean.runtime.deserialize_cuda_engine(fake_plan(graph, memory=0))
    context = engine.create_execution_context(ExecutionContextAllocationStrategy.USER_MANAGED)
    room = {name: clean.gpu.device_buffer(16) for name in "xy"}
    for name, place in room.items():
        assert context.set_tensor_address(name, place.address)
    clean.cuda.array(room["x"].address, (1, 4), np.float32)[...] = [0.6, 0.8, 100, -0.3]
    assert clean.enqueue(context)
    clean.stream.synchronize()
    got = clean.cuda.array(room["y"].address, (1, 4), np.float32)
    np.testing.assert_allclose(got, np.full((1, 4), (0.5 + 1 + 63.5 - 0.5) / 3), rtol=1e-6)
