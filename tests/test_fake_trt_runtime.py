"""The stand-in for TensorRT's runtime: it has what the real one has, and forgives nothing."""

import json

import numpy as np
import pytest
from onnx import TensorProto

from nanoseg.backends.cuda import open_gpu
from tests.fake_cuda import FakeCuda
from tests.fake_tensorrt import ILogger, Severity
from tests.fake_trt_plan import Plan
from tests.fake_trt_runtime import SCRIBBLE, ExecutionContextAllocationStrategy, fake_plan, fake_trt, profile_of
from tests.trt_platforms import BYTE, FLOAT, RECIPE, SCALE, graph_of

PROFILE = profile_of(SCALE, RECIPE.dimensions)
MEMORY_BYTES = 1024
PLAN = fake_plan(SCALE, PROFILE, MEMORY_BYTES)
X = np.arange(12, dtype=np.float32).reshape(3, 4)


class Log(ILogger):
    def __init__(self):
        self.said = []

    def log(self, severity, msg):
        self.said.append((severity, msg))


class Bench:
    """An engine with one context, through the bindings alone."""

    def __init__(self, cuda):
        self.cuda, self.gpu, self.trt, self.log = cuda, open_gpu(), fake_trt(cuda), Log()
        self.runtime = self.trt.Runtime(self.log)
        self.engine = self.runtime.deserialize_cuda_engine(PLAN)
        self.stream, self.memory = self.gpu.stream(), self.gpu.device(MEMORY_BYTES)
        self.places = {
            name: self.gpu.device(int(np.prod(shape, dtype=int)) * 4).view(shape, np.float32)
            for name, shape in {"x": (3, 4), "k": (), "y": (3, 4), "total": ()}.items()
        }
        self.context = self.make()

    def make(self, ready=True):
        context = self.engine.create_execution_context(ExecutionContextAllocationStrategy.USER_MANAGED)
        if ready:
            context.set_device_memory(self.memory.address, MEMORY_BYTES)
            assert context.set_input_shape("x", (3, 4))
            for name, place in self.places.items():
                assert context.set_tensor_address(name, place.address)
        return context

    def set(self, name, value):
        place = self.places[name]
        self.cuda.array(place.address, place.shape, place.dtype)[...] = value

    def get(self, name):
        place = self.places[name]
        return self.cuda.array(place.address, place.shape, place.dtype).copy()

    def enqueue(self, context=None, stream=None):
        return (context or self.context).execute_async_v3((stream or self.stream).handle)

    def capture(self, context=None):
        with self.stream.capture() as capture:
            assert self.enqueue(context)
        return capture.graph

    def errors(self):
        return [words for severity, words in self.log.said if severity == Severity.ERROR]


@pytest.fixture
def bench(monkeypatch):
    cuda = FakeCuda().install(monkeypatch)
    bench = Bench(cuda)
    yield bench
    bench.context = bench.engine = None
    bench.gpu.close()
    assert not cuda.alive


@pytest.fixture
def clean(bench):
    """Where nothing may have gone wrong."""
    yield bench
    bench.gpu.synchronize()
    assert bench.cuda.take_faults() == []


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


def test_it_runs_with_the_shapes_and_addresses_of_when_it_was_enqueued(clean):
    clean.set("x", X)
    clean.set("k", 2)
    assert clean.enqueue()
    other = clean.gpu.device(16)
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


def test_sides_of_one_name_are_equal(bench):
    graph = graph_of(
        {"a": (FLOAT, ("prompts",)), "b": (FLOAT, ("prompts",))}, {"c": (FLOAT, ("prompts",))}, [("Add", "ab", "c", {})]
    )
    engine = bench.runtime.deserialize_cuda_engine(fake_plan(graph, profile_of(graph, RECIPE.dimensions), 0))
    context = engine.create_execution_context(ExecutionContextAllocationStrategy.USER_MANAGED)
    room = bench.gpu.device(256)
    for name, side in (("a", 2), ("b", 3), ("c", None)):
        assert side is None or context.set_input_shape(name, (side,))
        assert context.set_tensor_address(name, room.address)
    assert not bench.enqueue(context)
    assert "b: its side prompts is 3, and 2 elsewhere" in bench.errors()[-1]


REFUSED = {
    "address not aligned": (lambda b: b.context.set_tensor_address("x", b.places["x"].address + 4), "not aligned"),
    "address of nothing": (lambda b: b.context.set_tensor_address("z", 256), "invalid tensor name"),
    "shape of an output": (lambda b: b.context.set_input_shape("y", (3, 4)), "invalid tensor name"),
    "shape of other rank": (lambda b: b.context.set_input_shape("x", (3,)), "does not agree with the network"),
    "shape of another network": (lambda b: b.context.set_input_shape("x", (3, 5)), "does not agree with the network"),
    "shape beyond the profile": (lambda b: b.context.set_input_shape("x", (9, 4)), "exceeds the range"),
    "memory not aligned": (lambda b: b.context.set_device_memory(b.memory.address + 4, 2000), "not aligned"),
    "memory too small": (lambda b: b.context.set_device_memory(b.memory.address, 1023), "fewer than the 1024"),
    "memory of its own": (lambda b: b.engine.create_execution_context(), "allocates no activation memory"),
    "no memory": (lambda b: _enqueue_without(b, memory=None), "no memory is set"),
    "no address": (lambda b: _enqueue_without(b, addresses="k"), "no address is set for k"),
    "no shape": (lambda b: _enqueue_without(b, shapes="x"), "the shape of x is not set"),
    "the legacy default stream": (lambda b: b.context.execute_async_v3(0), "INVALID_HANDLE"),
    "no plan": (lambda b: b.runtime.deserialize_cuda_engine(b"plan"), "magicTag"),
    "a plan of another version": (lambda b: _load(b, version="10.13.0"), "the plan is of tensorrt 10.13.0"),
    "a plan of another kind": (lambda b: _load(b, kind="tensorrt_rtx"), "the plan is of tensorrt_rtx"),
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


def _load(bench, **told):
    return bench.runtime.deserialize_cuda_engine(fake_plan(SCALE, PROFILE, **told))


@pytest.mark.parametrize("what", REFUSED)
def test_what_it_refuses(what, clean):
    do, words = REFUSED[what]
    assert not do(clean)
    assert words in clean.errors()[-1]
    assert clean.enqueue()  # nothing is spoilt


def test_version_compatible_plans(bench):
    bench.runtime.engine_host_code_allowed = True
    assert _load(bench, version="10.0.0", version_compatible=True)


FREED = {
    "an input": lambda b: b.places["x"].owner.close(),
    "an output": lambda b: b.places["y"].owner.close(),
    "activations": lambda b: b.memory.close(),
}


@pytest.mark.parametrize("what", FREED)
def test_memory_that_was_freed(what, bench):
    FREED[what](bench)
    assert not bench.enqueue()
    assert "is freed" in bench.errors()[-1]
    assert any("is freed" in fault for fault in bench.cuda.take_faults())


def test_memory_that_is_too_small(bench):
    small = bench.gpu.device(32)
    assert bench.context.set_tensor_address("y", small.address)
    assert not bench.enqueue()
    assert bench.cuda.take_faults()


def test_contexts_that_share_activations_and_run_at_once(bench):
    second = bench.make()
    places = {name: bench.gpu.device(place.nbytes) for name, place in bench.places.items()}
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


def test_one_context_on_two_streams_at_once(bench):
    bench.enqueue()
    bench.enqueue(stream=bench.gpu.stream())
    assert bench.cuda.take_faults()
    bench.gpu.synchronize()


def test_a_captured_graph(clean):
    clean.enqueue()
    graph = clean.capture()
    for k in (2, 3):
        clean.set("x", X)
        clean.set("k", k)
        graph.launch(clean.stream)
        clean.stream.synchronize()
        np.testing.assert_array_equal(clean.get("y"), X * k)
    assert clean.enqueue()  # not a change
    graph.launch(clean.stream)
    clean.stream.synchronize()
    graph.close()


def test_a_capture_before_the_first_run_or_after_a_new_shape(bench):
    for _ in range(2):
        with pytest.raises(Exception, match="INVALIDATED"), bench.stream.capture():
            assert not bench.enqueue()
        assert "CAPTURE_UNSUPPORTED" in bench.errors()[-1]
        assert not bench.enqueue()  # once: what went wrong last is told to whoever asks next
        assert "not permitted when stream is capturing" in bench.errors()[-1]
        assert bench.enqueue()
        bench.capture().close()
        assert bench.context.set_input_shape("x", (3, 4))
    bench.gpu.synchronize()


def test_an_engine_that_no_graph_can_hold(clean):
    clean.trt.fake.fails["capture"] = ""
    assert clean.enqueue()
    with pytest.raises(Exception, match="INVALIDATED"), clean.stream.capture():
        assert not clean.enqueue()
    assert not clean.enqueue()
    clean.set("x", X)
    clean.set("k", 2)
    assert clean.enqueue()
    clean.stream.synchronize()
    np.testing.assert_array_equal(clean.get("y"), X * 2)


CHANGES = {
    "shape": lambda b: b.context.set_input_shape("x", (3, 4)),
    "address": lambda b: b.context.set_tensor_address("x", b.places["x"].address),
    "memory": lambda b: b.context.set_device_memory(b.memory.address, MEMORY_BYTES),
    "captured again": lambda b: b.enqueue() and b.capture().close(),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_graph_whose_context_was_changed(what, bench):
    bench.enqueue()
    graph = bench.capture()
    CHANGES[what](bench)
    graph.launch(bench.stream)
    bench.stream.synchronize()
    assert bench.cuda.take_faults() == ["a graph is launched after the context that it was captured from was changed"]
    graph.close()


def test_a_context_that_goes_before_its_work_is_done(bench):
    bench.enqueue()
    graph = bench.capture()
    bench.context = None
    bench.stream.synchronize()
    assert bench.cuda.take_faults() == ["a context is gone before its work is done"]
    graph.launch(bench.stream)
    bench.stream.synchronize()
    assert bench.cuda.take_faults()
    graph.close()


def test_it_wants_the_context_of_the_gpu_in_this_thread(bench):
    driver = bench.cuda.module
    _, current = driver.cuCtxPopCurrent()
    assert bench.runtime.deserialize_cuda_engine(PLAN) is None
    assert bench.engine.create_execution_context(ExecutionContextAllocationStrategy.USER_MANAGED) is None
    assert not bench.enqueue()
    assert "INVALID_CONTEXT" in bench.errors()[-1]
    driver.cuCtxPushCurrent(current)
    assert bench.enqueue()
    bench.gpu.synchronize()


def test_what_is_alive_is_counted(bench):
    kinds = ("trt engine", "trt context")
    assert [bench.cuda.alive[kind] for kind in kinds] == [1, 1]
    second = bench.make()
    assert bench.cuda.alive["trt context"] == 2
    del second
    bench.engine = None  # the context keeps it
    assert [bench.cuda.alive[kind] for kind in kinds] == [1, 1]
    bench.context = None
    assert [bench.cuda.alive[kind] for kind in kinds] == [0, 0]
    assert [bench.cuda.allocations[kind] for kind in kinds] == [1, 2]


def test_an_engine_that_outlives_the_gpu(bench):
    bench.gpu.close()
    assert any("trt engine" in fault for fault in bench.cuda.take_faults())
    bench.context = None
    assert "a trt context is destroyed where the context that it was made in is not current" in bench.cuda.take_faults()


def test_one_logger_at_a_time(bench):
    second = Log()
    runtime = bench.trt.Runtime(second)
    assert runtime.deserialize_cuda_engine(b"") is None
    assert second.said == []
    assert any("differs from one already provided" in words for _, words in bench.log.said)
    assert "magicTag" in bench.errors()[-1]


def test_work_that_goes_wrong(bench):
    bench.trt.fake.fails["run"] = "an illegal memory access"
    bench.enqueue()
    with pytest.raises(Exception, match="LAUNCH_FAILED"):
        bench.stream.synchronize()
    assert any("an illegal memory access" in fault for fault in bench.cuda.take_faults())
    bench.cuda.broken = None


def test_q_and_dq_as_they_stand(clean):
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
    room = {name: clean.gpu.device(16) for name in "xy"}
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


def test_a_context_whose_kernels_change_behind_a_graphs_back_is_refused(monkeypatch):
    cuda, log = FakeCuda().install(monkeypatch), Log()
    api = fake_trt(cuda, "1.7.1", "tensorrt_rtx")
    with open_gpu():
        plan = fake_plan(SCALE, PROFILE, MEMORY_BYTES, kind="tensorrt_rtx", version="1.7.1")
        runtime = api.Runtime(log)
        engine = runtime.deserialize_cuda_engine(plan)
        lazy, eager = engine.create_runtime_config(), engine.create_runtime_config()
        for each in (lazy, eager):
            each.set_execution_context_allocation_strategy(ExecutionContextAllocationStrategy.USER_MANAGED)
        eager.dynamic_shapes_kernel_specialization_strategy = api.DynamicShapesKernelSpecializationStrategy.EAGER
        for number, each in enumerate((ExecutionContextAllocationStrategy.USER_MANAGED, lazy), 1):
            assert engine.create_execution_context(each) is None
            assert "behind a captured graph's back" in log.said[-1][1]
            assert len(log.said) == number
        assert engine.create_execution_context(eager) is not None
        del engine, lazy, eager, each, runtime


@pytest.mark.parametrize(
    ("kind", "version"),
    [*(("tensorrt", version) for version in ("10.3", "10.13", "11.4", "rtx-1.7")), ("tensorrt_rtx", "rtx-1.7")],
)
def test_it_has_nothing_that_tensorrt_has_not(kind, version, data):
    known = json.loads((data / "tensorrt-api" / f"{version}.json").read_text())
    module = fake_trt(FakeCuda(), kind=kind)
    kinds = [kind for kind in vars(module).values() if isinstance(kind, type)]
    assert len(kinds) == (8 if kind == "tensorrt" else 10)
    for name, kind in vars(module).items():
        if isinstance(kind, type):
            assert name in known["tensorrt"]
            told = {each for each in dir(kind) if not each.startswith("_")}
            assert told <= set(known[name]), name
