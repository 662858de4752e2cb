"""The stand-in for TensorRT's runtime: what it computes, and when."""

import numpy as np
from onnx import TensorProto

from tests.fakes.laws.tensorrt_bench import MEMORY_BYTES, X
from tests.fakes.tensorrt_context import SCRIBBLE
from tests.fakes.tensorrt_plan import Plan
from tests.fakes.tensorrt_platforms import BYTE, FLOAT, RECIPE, graph_of
from tests.fakes.tensorrt_runtime import ExecutionContextAllocationStrategy, fake_plan, profile_of


def test_a_run(clean):
    clean.set("x", X)
    clean.set("k", 2)
    clean.set("y", 7)
    assert clean.enqueue()
    np.testing.assert_array_equal(clean.get("y"), np.full((3, 4), 7))  # nobody has waited yet
    clean.stream.synchronize()
    np.testing.assert_array_equal(clean.get("y"), X * 2)
    assert clean.get("total") == (X * 2).sum()
    assert (clean.cuda.array(clean.memory.address, (MEMORY_BYTES,), np.uint8) == SCRIBBLE).all()


def test_what_it_has_seen_is_not_computed_again(clean, monkeypatch):
    computed, really = [], Plan.run
    monkeypatch.setattr(Plan, "run", lambda plan, feeds: computed.append(plan) or really(plan, feeds))
    clean.trt.fake.seen = {}
    clean.set("x", X)
    for k in (2, 3, 2, 3):
        clean.set("k", k)
        clean.set("y", 7)
        assert clean.enqueue()
        clean.stream.synchronize()
        np.testing.assert_array_equal(clean.get("y"), X * k)
    assert len(computed) == 2


def test_fake_tensorrt_enqueue_takes_shapes_and_addresses(clean):
    clean.set("x", X)
    clean.set("k", 2)
    assert clean.enqueue()
    other = clean.gpu.device_buffer(16)
    assert clean.context.set_input_shape("x", (1, 4))
    assert clean.context.set_tensor_address("y", other.address)
    clean.stream.synchronize()
    np.testing.assert_array_equal(clean.get("y"), X * 2)


def test_shapes(clean):
    context = clean.make(ready=False)
    assert context.get_tensor_shape("x") == (-1, 4)
    assert context.get_tensor_shape("y") == (-1, 4)
    assert context.get_tensor_shape("total") == ()
    assert context.set_input_shape("x", [5, 4])
    assert context.get_tensor_shape("y") == (5, 4)
    assert clean.engine.get_tensor_profile_shape("x", 0) == [(1, 4), (4, 4), (8, 4)]
    assert clean.engine.get_tensor_profile_shape("k", 0) == [(), (), ()]


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
    told = clean.cuda.array(room["y"].address, (1, 4), np.float32)
    np.testing.assert_allclose(told, np.full((1, 4), (0.5 + 1 + 63.5 - 0.5) / 3), rtol=1e-6)


def test_what_a_recipe_makes_of_a_graph():
    graph = graph_of(
        {"a": (BYTE, (1, "prompts", 3)), "b": (TensorProto.FLOAT16, (2,))},
        {"c": (BYTE, (1, "prompts", 3))},
        [("Identity", "a", "c", {})],
    )
    assert profile_of(graph, RECIPE.dimensions) == {"a": [[1, 1, 3], [1, 4, 3], [1, 8, 3]]}
