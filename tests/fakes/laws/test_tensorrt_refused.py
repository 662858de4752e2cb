"""The fake of TensorRT's runtime forgives nothing: what it refuses."""

import pytest

from tests.fakes.laws.tensorrt_bench import PROFILE
from tests.fakes.tensorrt_platforms import FLOAT, RECIPE, SCALE, graph_of
from tests.fakes.tensorrt_runtime import ExecutionContextAllocationStrategy, fake_plan, profile_of


def test_fake_tensorrt_same_dimension_same_size(bench):
    graph = graph_of(
        {"a": (FLOAT, ("prompts",)), "b": (FLOAT, ("prompts",))}, {"c": (FLOAT, ("prompts",))}, [("Add", "ab", "c", {})]
    )
    engine = bench.runtime.deserialize_cuda_engine(fake_plan(graph, profile_of(graph, RECIPE.dimensions), 0))
    context = engine.create_execution_context(ExecutionContextAllocationStrategy.USER_MANAGED)
    room = bench.gpu.device_buffer(256)
    for name, side in (("a", 2), ("b", 3), ("c", None)):
        assert side is None or context.set_input_shape(name, (side,))
        assert context.set_tensor_address(name, room.address)
    assert not bench.enqueue(context)
    assert "b: its dimension prompts is 3, and 2 elsewhere" in bench.errors()[-1]


REFUSED = {
    "address not aligned": (lambda b: b.context.set_tensor_address("x", b.places["x"].address + 4), "not aligned"),
    "address of nothing": (lambda b: b.context.set_tensor_address("z", 256), "invalid tensor name"),
    "shape of an output": (lambda b: b.context.set_input_shape("y", (3, 4)), "invalid tensor name"),
    "shape of other rank": (lambda b: b.context.set_input_shape("x", (3,)), "does not agree with the network"),
    "shape of another network": (lambda b: b.context.set_input_shape("x", (3, 5)), "does not agree with the network"),
    "shape beyond the profile": (lambda b: b.context.set_input_shape("x", (9, 4)), "exceeds the range"),
    "memory not aligned": (lambda b: b.context.set_device_memory(b.memory.address + 4, 2000), "not aligned"),
    "memory too small": (lambda b: b.context.set_device_memory(b.memory.address, 1023), "fewer than the 1024"),
    "memory for no shape": (
        lambda b: b.engine.create_execution_context(
            ExecutionContextAllocationStrategy.USER_MANAGED
        ).update_device_memory_size_for_shapes(),
        "the shape of x is not set",
    ),
    "memory of its own": (lambda b: b.engine.create_execution_context(), "allocates no activation memory"),
    "no memory": (lambda b: _enqueue_without(b, memory=None), "no memory is set"),
    "no address": (lambda b: _enqueue_without(b, addresses="k"), "no address is set for k"),
    "no shape": (lambda b: _enqueue_without(b, shapes="x"), "the shape of x is not set"),
    "the legacy default stream": (lambda b: b.context.execute_async_v3(0), "INVALID_HANDLE"),
    "no plan": (lambda b: b.runtime.deserialize_cuda_engine(b"plan"), "magicTag"),
    "a plan of another version": (lambda b: _load(b, version="10.13.0"), "the plan is of tensorrt 10.13.0"),
    "a plan of another kind": (lambda b: _load(b, kind="tensorrt-rtx"), "the plan is of tensorrt-rtx"),
    "code that came along": (lambda b: _load(b, version_compatible=True), "engine_host_code_allowed"),
}


def _enqueue_without(bench, **without):
    context = bench.make()
    for what, name in without.items():
        if name:
            del getattr(context, f"_{what}")[name]
        else:
            setattr(context, f"_{what}", None)
    return bench.enqueue(context)


def _load(bench, **got):
    return bench.runtime.deserialize_cuda_engine(fake_plan(SCALE, PROFILE, **got))


@pytest.mark.parametrize("what", REFUSED)
def test_fake_tensorrt_refuses(what, clean):
    do, words = REFUSED[what]
    assert not do(clean)
    assert words in clean.errors()[-1]
    assert clean.enqueue()  # nothing is spoilt


FREED = {
    "an input": lambda b: b.places["x"].owner.close(),
    "an output": lambda b: b.places["y"].owner.close(),
    "activations": lambda b: b.memory.close(),
}


@pytest.mark.parametrize("what", FREED)
def test_fake_tensorrt_freed_memory(what, bench):
    FREED[what](bench)
    assert not bench.enqueue()
    assert "is freed" in bench.errors()[-1]
    assert any("is freed" in fault for fault in bench.cuda.take_faults())


def test_fake_tensorrt_output_too_small(bench):
    small = bench.gpu.device_buffer(32)
    assert bench.context.set_tensor_address("y", small.address)
    assert not bench.enqueue()
    assert bench.cuda.take_faults()


def test_fake_tensorrt_race_of_shared_activations(bench):
    second = bench.make()
    places = {name: bench.gpu.device_buffer(place.nbytes) for name, place in bench.places.items()}
    for name, place in places.items():
        assert second.set_tensor_address(name, place.address)
    other = bench.gpu.stream()
    bench.enqueue()
    bench.enqueue(second, other)
    assert any(f"{bench.memory.address:#x}" in fault for fault in bench.cuda.take_faults())
    bench.gpu.synchronize()
    with bench.gpu.event() as event:  # in order it is right
        bench.enqueue()
        event.record(bench.stream)
        other.wait(event)
        bench.enqueue(second, other)
        bench.gpu.synchronize()
    assert bench.cuda.take_faults() == []


def test_fake_tensorrt_race_of_one_context(bench):
    bench.enqueue()
    bench.enqueue(stream=bench.gpu.stream())
    assert bench.cuda.take_faults()
    bench.gpu.synchronize()


def test_fake_tensorrt_failed_work(bench):
    bench.trt.fake.fails["run"] = "an illegal memory access"
    bench.enqueue()
    with pytest.raises(Exception, match="LAUNCH_FAILED"):
        bench.stream.synchronize()
    assert any("an illegal memory access" in fault for fault in bench.cuda.take_faults())
    bench.cuda.broken = None
