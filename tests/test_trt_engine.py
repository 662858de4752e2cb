"""Engines and their contexts: the same laws on stand-ins and, under the mark gpu, on what is there."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from nanoseg.backends import probe
from nanoseg.backends.engine import TensorSpec
from nanoseg.backends.trt.engine import TrtEngine, open_trt
from nanoseg.backends.trt.log import runtime_log
from nanoseg.backends.trt_build.build import build_engine
from nanoseg.errors import EngineError
from nanoseg.store import Device, Store
from tests.engine_records import changed, make_bundle, record, sha
from tests.fake_trt_runtime import fake_plan, profile_of
from tests.trt_platforms import FAKES, PLATFORMS, RECIPE, SCALE, TYPES, graph_of, open_platform

X = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.fixture(params=PLATFORMS)
def platform(request, monkeypatch):
    with open_platform(request.param, monkeypatch) as platform:
        yield platform


@pytest.fixture(params=FAKES)
def fake(request, monkeypatch):
    with open_platform(request.param, monkeypatch) as fake:
        yield fake


class Runner:
    """One context with arrays for all its tensors."""

    def __init__(self, platform, engine, shapes=(), memory=None):
        self.gpu, self.engine = platform.gpu, engine
        self.stream = self.gpu.stream()
        self.memory = memory or (self.gpu.device(engine.memory_bytes) if engine.memory_bytes else None)
        self.context = engine.context(self.memory)
        self.arrays, self.host = {}, {}
        self.reshape(**dict(shapes))

    def reshape(self, **shapes):
        for name, shape in shapes.items():
            self.context.set_shape(name, shape)
        for name, spec in {**self.engine.inputs, **self.engine.outputs}.items():
            self.host[name] = self.gpu.host(self.context.shape(name), spec.dtype)
            self.arrays[name] = self.gpu.device(self.host[name].nbytes).view(self.host[name].shape, spec.dtype)
            self.context.bind(name, self.arrays[name])

    def feed(self, **values):
        for name, value in values.items():
            self.host[name].array[...] = value
            self.gpu.copy(self.arrays[name], self.host[name], self.stream)

    def read(self, *names):
        for name in names:
            self.gpu.copy(self.host[name], self.arrays[name], self.stream)
        self.stream.synchronize()
        return [self.host[name].array.copy() for name in names]

    def run(self, **values):
        self.feed(**values)
        self.context.enqueue(self.stream)
        return self.read(*self.engine.outputs)


def scaled(x, k):
    return [x * np.float32(k), (x * np.float32(k)).sum()]


def test_what_it_takes_and_gives(platform):
    with platform.engine(SCALE) as engine:
        assert dict(engine.inputs) == {
            "x": TensorSpec(np.dtype("float32"), (None, 4)),
            "k": TensorSpec(np.dtype("float32"), ()),
        }
        assert dict(engine.outputs) == {
            "y": TensorSpec(np.dtype("float32"), (None, 4)),
            "total": TensorSpec(np.dtype("float32"), ()),
        }
        assert (engine.smallest("x"), engine.largest("x")) == ((1, 4), (8, 4))
        assert engine.largest("k") == ()
        assert engine.memory_bytes >= 0
        assert engine.device == platform.gpu.name


def test_runs(platform):
    """One context, with one shape after another."""
    with platform.engine(SCALE) as engine:
        runner = Runner(platform, engine, {"x": (3, 4)})
        for count, k in ((3, 2.0), (8, 0.5), (1, -1.0), (8, 3.0)):
            x = np.resize(X, (count, 4))
            runner.reshape(x=x.shape)
            for told, wanted in zip(runner.run(x=x, k=k), scaled(x, k), strict=True):
                np.testing.assert_allclose(told, wanted, rtol=1e-6)


def test_the_types_of_our_graphs(platform):
    with platform.engine(TYPES) as engine:
        told = {name: spec.dtype.name for name, spec in {**engine.inputs, **engine.outputs}.items()}
        assert told == {"pixels": "uint8", "half": "float16", "sum": "float16", "whole": "int32"}
        assert engine.largest("pixels") == engine.smallest("pixels") == (1, 4, 4, 3)
        pixels = np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3)
        total, whole = Runner(platform, engine).run(pixels=pixels, half=np.full((1, 4, 4, 3), 1.25, np.float16))
        np.testing.assert_array_equal(total, pixels + np.float16(1.25))
        np.testing.assert_array_equal(whole, pixels.astype(np.int32) + 1)


def test_mapped_memory_is_bound_where_it_lies(platform):
    with platform.engine(SCALE) as engine:
        runner = Runner(platform, engine, {"x": (3, 4)})
        x, y = (platform.gpu.host((3, 4), np.float32, mapped=True) for _ in range(2))
        runner.context.bind("x", x)
        runner.context.bind("y", y)
        x.array[...] = X
        runner.feed(k=2)
        runner.context.enqueue(runner.stream)
        runner.stream.synchronize()
        np.testing.assert_array_equal(y.array, X * 2)


def test_a_captured_context(platform):
    """A graph runs on the addresses of its capture, with what lies there then."""
    if not platform.gpu.graphs:
        pytest.skip("this provider captures no graphs")
    with platform.engine(SCALE) as engine:
        runner = Runner(platform, engine, {"x": (3, 4)})
        runner.run(x=X, k=1)  # "to flush deferred updates"
        with runner.stream.capture() as capture:
            runner.context.enqueue(runner.stream)
        for k in (2.0, 5.0):
            runner.feed(x=X + 1, k=k)
            capture.graph.launch(runner.stream)
            for told, wanted in zip(runner.read("y", "total"), scaled(X + 1, k), strict=True):
                np.testing.assert_allclose(told, wanted, rtol=1e-6)
        capture.graph.close()


def test_contexts_share_the_memory_of_activations(platform):
    """Of two engines, each with two contexts: one after the other on one stream."""
    with platform.engine(SCALE) as scale, platform.engine(TYPES) as types:
        memory = platform.gpu.device(max(scale.memory_bytes, types.memory_bytes, 1))
        runners = [Runner(platform, scale, {"x": (count, 4)}, memory) for count in (1, 3)]
        plain = Runner(platform, types, (), memory)
        plain.stream = runners[1].stream = runners[0].stream
        ones = np.ones((1, 4, 4, 3), np.float16)
        for runner, count in zip(runners, (1, 3), strict=True):
            runner.feed(x=X[:count], k=2)
        plain.feed(pixels=ones, half=ones)
        for each in (*runners, plain):
            each.context.enqueue(each.stream)
        np.testing.assert_array_equal(runners[0].read("y")[0], X[:1] * 2)
        np.testing.assert_array_equal(runners[1].read("y")[0], X * 2)
        np.testing.assert_array_equal(plain.read("sum")[0], ones * 2)


def test_use_from_other_threads(platform):
    """A thread that runs makes the GPU current; one that loads, makes a context or closes need not."""
    told = []

    def run(runner):
        platform.gpu.make_current()
        told.append(runner.run(x=X, k=3)[0])

    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second, ThreadPoolExecutor(1) as third:
        engine = first.submit(platform.engine, SCALE).result()
        memory = platform.gpu.device(max(engine.memory_bytes, 1))
        runner = Runner(platform, engine, {"x": (3, 4)}, memory)
        context = second.submit(engine.context, memory).result()
        second.submit(run, runner).result()
        del context
        third.submit(engine.close).result()
    np.testing.assert_array_equal(told[0], X * 3)


def test_a_context_keeps_what_is_bound_to_it_until_it_is_closed(fake):
    with fake.engine(SCALE) as engine:
        runner = Runner(fake, engine, {"x": (3, 4)})
        before = fake.cuda.alive["device"]
        runner.arrays.clear()
        assert fake.cuda.alive["device"] == before
        runner.context.close()
        assert fake.cuda.alive["device"] == before - 4


def test_nothing_is_made_by_a_run(fake):
    with fake.engine(SCALE) as engine:
        runner = Runner(fake, engine, {"x": (3, 4)})
        runner.run(x=X, k=1)
        before, calls = dict(fake.cuda.allocations), dict(fake.api.fake.calls)
        for k in range(5):
            runner.context.set_shape("x", (3, 4))
            runner.context.bind("x", runner.arrays["x"])
            runner.run(x=X, k=k)
        assert fake.cuda.allocations == before
        # Nor is TensorRT told again what it knows: that would put work off.
        assert {name: count - calls[name] for name, count in fake.api.fake.calls.items() if count != calls[name]} == {
            "execute_async_v3": 5
        }


def wrong_dtype(platform, runner):
    runner.context.bind("x", platform.gpu.device(48).view((3, 4), np.int32))


def wrong_rank(platform, runner):
    runner.context.bind("x", platform.gpu.device(48).view((12,), np.float32))


def not_aligned(platform, runner):
    runner.context.bind("x", platform.gpu.device(1024).view((3, 4), np.float32, offset=128))


def not_mapped(platform, runner):
    runner.context.bind("x", platform.gpu.host((3, 4), np.float32))


def bound_to_another_shape(platform, runner):
    runner.context.bind("y", platform.gpu.device(128).view((8, 4), np.float32))
    runner.context.enqueue(runner.stream)


def shape_changed_after_binding(platform, runner):
    runner.context.set_shape("x", (8, 4))
    runner.context.enqueue(runner.stream)


def bound_to_nothing(platform, runner):
    context = runner.engine.context(runner.memory)
    context.set_shape("x", (3, 4))
    context.enqueue(runner.stream)


def no_shape(platform, runner):
    context = runner.engine.context(runner.memory)
    for name, array in runner.arrays.items():
        context.bind(name, array)
    context.enqueue(runner.stream)


def output_of_unknown_shape(platform, runner):
    runner.engine.context(runner.memory).shape("y")


def too_large(platform, runner):
    runner.context.set_shape("x", (9, 4))


def not_the_networks(platform, runner):
    runner.context.set_shape("x", (3, 5))


def an_output(platform, runner):
    runner.context.set_shape("y", (3, 4))


def unknown(platform, runner):
    runner.context.bind("z", runner.arrays["x"])


def profile_of_an_output(platform, runner):
    runner.engine.largest("y")


def array_closed(platform, runner):
    runner.arrays["x"].owner.close()
    runner.context.enqueue(runner.stream)


def memory_closed(platform, runner):
    runner.memory.close()
    runner.context.enqueue(runner.stream)


def context_closed(platform, runner):
    runner.context.close()
    runner.context.close()
    runner.context.enqueue(runner.stream)


def engine_closed(platform, runner):
    runner.engine.close()
    runner.engine.close()
    runner.context.enqueue(runner.stream)


def engine_closed_before_a_context(platform, runner):
    runner.engine.close()
    runner.engine.context(runner.memory)


def too_little_memory(platform, runner):
    runner.engine.memory_bytes = 4096
    runner.engine.context(platform.gpu.device(4095))


def no_memory(platform, runner):
    runner.engine.memory_bytes = 4096
    runner.engine.context(None)


def memory_not_aligned(platform, runner):
    size = runner.engine.memory_bytes or 1
    runner.engine.context(platform.gpu.device(size + 128).view((size,), np.uint8, offset=128))


MISUSE = {
    wrong_dtype: "'x' wants float32 (any, 4), got int32 (3, 4)",
    wrong_rank: "'x' wants float32 (any, 4), got float32 (12,)",
    not_aligned: "'x' wants an address that is a multiple of 256: copy it",
    bound_to_another_shape: "'y' is (3, 4) now, and is bound to (8, 4)",
    shape_changed_after_binding: "'x' is (8, 4) now, and is bound to (3, 4)",
    bound_to_nothing: "'x' is bound to nothing",
    no_shape: "the shape of 'x' is not known: the shape of x is not set",
    output_of_unknown_shape: "the shape of 'y' is not known: the shape of x is not set",
    too_large: "'x' wants (1, 4) to (8, 4), got (9, 4): *",
    not_the_networks: "'x' wants (1, 4) to (8, 4), got (3, 5): *",
    an_output: "has no input y; its inputs are x, k",
    unknown: "has no tensor z; its tensors are x, k, y, total",
    profile_of_an_output: "has no input y; its inputs are x, k",
    context_closed: "its context was closed; load the bundle again",
    engine_closed: "its context was closed; load the bundle again",
    engine_closed_before_a_context: "it was closed; load the bundle again",
    too_little_memory: "a context wants 4096 bytes for its activations, got 4095",
    no_memory: "a context wants 4096 bytes for its activations, got none",
    memory_not_aligned: "the memory of a context starts at a multiple of 256 bytes",
}
CLOSED = {
    not_mapped: "HostBuffer: the GPU cannot reach it where it lies: make it with mapped=True",
    array_closed: "DeviceBuffer: it is closed and cannot be used any more",
    memory_closed: "DeviceBuffer: it is closed and cannot be used any more",
}


@pytest.mark.parametrize("misuse", [*MISUSE, *CLOSED], ids=lambda misuse: misuse.__name__)
def test_misuse(misuse, platform):
    with platform.engine(SCALE) as engine:
        memory = platform.gpu.device(engine.memory_bytes or 1)
        runner = Runner(platform, engine, {"x": (3, 4)}, memory)
        runner.run(x=X, k=1)
        with pytest.raises(EngineError) as error:
            misuse(platform, runner)
    told, wanted = str(error.value), CLOSED.get(misuse) or f"x.engine: {MISUSE[misuse]}"
    assert "\n" not in told
    if wanted.endswith("*"):
        assert told.startswith(wanted[:-1])
        assert told[len(wanted) - 1 :] != "it does not say why"
    else:
        assert told == wanted


def test_no_plan(platform):
    with pytest.raises(
        EngineError, match=r"^bad\.engine: .* cannot load this engine: .*build it on this device$"
    ) as error:
        TrtEngine(platform.api, platform.gpu, b"no plan at all" * 99, "bad.engine")
    assert "does not say why" not in str(error.value)


FAILURES = {
    "deserialize_cuda_engine": "cannot load this engine",
    "create_execution_context": "no context can be made",
    "set_device_memory": "no context can be made",
    "set_input_shape": "'x' wants (1, 4) to (8, 4), got (2, 4)",
    "set_tensor_address": "'x' takes no address",
    "execute_async_v3": "it cannot be run",
}


def run_once(fake):
    with fake.engine(SCALE) as engine:
        runner = Runner(fake, engine, {"x": (2, 4)})
        runner.context.enqueue(runner.stream)
        return runner.run(x=X[:2], k=2)


@pytest.mark.parametrize("function", FAILURES)
def test_where_tensorrt_fails_it_is_told_why_and_the_next_call_works(function, fake):
    fake.api.fake.fails[function] = "Error Code 1:\nMyelin ran out"
    with pytest.raises(EngineError) as error:
        run_once(fake)
    assert FAILURES[function] in str(error.value)
    assert "Error Code 1: Myelin ran out" in str(error.value)
    assert "\n" not in str(error.value)
    del fake.api.fake.fails[function]
    np.testing.assert_array_equal(run_once(fake)[0], X[:2] * 2)


def test_an_address_that_was_refused(fake):
    """Neither the old array nor the new one is there then."""
    with fake.engine(SCALE) as engine:
        runner = Runner(fake, engine, {"x": (3, 4)})
        other = fake.gpu.device(48).view((3, 4), np.float32)
        fake.api.fake.fails["set_tensor_address"] = "no"
        with pytest.raises(EngineError, match="'x' takes no address"):
            runner.context.bind("x", other)
        with pytest.raises(EngineError, match="'x' is bound to nothing"):
            runner.context.enqueue(runner.stream)
        del fake.api.fake.fails["set_tensor_address"]
        calls = fake.api.fake.calls["set_tensor_address"]
        runner.context.bind("x", runner.arrays["x"])
        assert fake.api.fake.calls["set_tensor_address"] == calls + 1
        assert runner.run(x=X, k=2)[1] == (X * 2).sum()


@pytest.mark.parametrize("function", [name for name in FAILURES if name != "deserialize_cuda_engine"])
def test_what_the_bindings_raise(function, fake, monkeypatch):
    """pybind does where it cannot take an argument, say."""

    def fail(self, *_):
        raise TypeError("incompatible function arguments\nThe following are supported:")

    owner = fake.api.ICudaEngine if function == "create_execution_context" else fake.api.IExecutionContext
    monkeypatch.setattr(owner, function, fail)
    with pytest.raises(EngineError, match="incompatible function arguments The following"):
        run_once(fake)


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("Cuda Runtime (out of memory)", "close other programs"),
        ("Cuda Runtime (cudaError 35: CUDA driver version is insufficient)", "nanoseg doctor tells what is missing"),
        ("magic tag is wrong", "build it on this device"),
    ],
)
def test_what_to_do_where_it_does_not_load(words, advice, fake):
    fake.api.fake.fails["deserialize_cuda_engine"] = words
    with pytest.raises(EngineError, match=advice):
        fake.engine(SCALE)


def test_a_capture_right_after_a_new_shape(fake):
    with fake.engine(SCALE) as engine:
        runner = Runner(fake, engine, {"x": (3, 4)})
        runner.feed(x=X, k=2)
        with pytest.raises(EngineError, match=r"it cannot be run: .*CAPTURE_UNSUPPORTED"), runner.stream.capture():
            runner.context.enqueue(runner.stream)
        with pytest.raises(EngineError, match=r"it cannot be run: .*not permitted when stream is capturing"):
            runner.context.enqueue(runner.stream)  # CUDA tells the capture's error once more
        assert runner.run(x=X, k=2)[1] == (X * 2).sum()  # the stream is as good as before
        with runner.stream.capture() as capture:
            runner.context.enqueue(runner.stream)
        capture.graph.close()


def test_the_words_of_each_of_two_engines(fake):
    """TensorRT tells them all to the logger that it was given first."""
    with fake.engine(SCALE, "one.engine") as one, fake.engine(SCALE, "two.engine") as two:
        for engine in (two, one):
            memory = fake.gpu.device(engine.memory_bytes)
            with pytest.raises(EngineError, match=rf"^{engine.name}: .*exceeds the range .* of profile 0\)$"):
                engine.context(memory).set_shape("x", (9, 4))
        assert not any("logger" in each for each in fake.api.fake.said)


def in_another_thread(work):
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work).result()


def meanwhile(fake, monkeypatch, function, work):
    """Let another thread do `work` whenever this one is inside of a function of TensorRT's."""
    owner = {"deserialize_cuda_engine": fake.api.Runtime, "create_execution_context": fake.api.ICudaEngine}
    owner, here = owner.get(function, fake.api.IExecutionContext), threading.get_ident()
    really = getattr(owner, function)

    def slow(self, *arguments):
        if threading.get_ident() == here:
            in_another_thread(work)
        return really(self, *arguments)

    monkeypatch.setattr(owner, function, slow)


@pytest.mark.parametrize("fails", [False, True], ids=["works", "fails"])
@pytest.mark.parametrize("function", FAILURES)
def test_what_another_thread_is_told_meanwhile(function, fails, fake, monkeypatch):
    """It is another engine's fault: it lets nothing fail here, and is in no message of this thread's."""
    heard = []

    def load_a_bad_one():
        with pytest.raises(EngineError) as error:
            TrtEngine(fake.api, fake.gpu, b"no plan", "bad.engine")
        heard.append(str(error.value))

    meanwhile(fake, monkeypatch, function, load_a_bad_one)
    if fails and function == "deserialize_cuda_engine":
        with pytest.raises(EngineError) as error:
            TrtEngine(fake.api, fake.gpu, fake_plan(SCALE, version="9.0"), "old.engine")
        assert "the plan is of tensorrt 9.0" in str(error.value)
        assert "magicTag" not in str(error.value)
    elif fails:
        fake.api.fake.fails[function] = "Error Code 1: Myelin ran out"
        with pytest.raises(EngineError) as error:
            run_once(fake)
        assert "Error Code 1: Myelin ran out" in str(error.value)
        assert "magicTag" not in str(error.value)
    else:
        np.testing.assert_array_equal(run_once(fake)[0], X[:2] * 2)
    assert heard
    assert all("magicTag" in each and "ran out" not in each and "plan is of" not in each for each in heard)


def test_what_a_thread_of_tensorrts_own_is_told(fake, monkeypatch):
    """It compiles in some: where this one was told nothing, their words are better than none."""
    with fake.engine(SCALE) as engine:
        monkeypatch.setattr(
            fake.api.ICudaEngine,
            "create_execution_context",
            lambda *_: in_another_thread(lambda: fake.api.fake.say("Error Code 9: no such kernel")),
        )
        with pytest.raises(EngineError, match=r"x\.engine: no context can be made: Error Code 9: no such kernel$"):
            engine.context(fake.gpu.device(engine.memory_bytes))


def test_the_words_of_a_long_life_are_not_kept(fake):
    with fake.engine(SCALE) as engine:
        context = engine.context(fake.gpu.device(engine.memory_bytes))
        for side in range(100, 300):
            with pytest.raises(EngineError, match=rf"{side}, 4\) exceeds"):
                context.set_shape("x", (side, 4))
        assert len(runtime_log(fake.api)[1]._last) < 100


UNSUPPORTED = {
    "bfloat16": (
        graph_of({"x": (16, (1,))}, {"y": (16, (1,))}, [("Identity", ["x"], ["y"], {})]),
        (),
        "is bfloat16, wanted one of float32, float16",
    ),
    "a shape": (SCALE, ["k"], "'k' says how large others are"),
}


@pytest.mark.parametrize("what", UNSUPPORTED)
def test_tensors_that_no_graph_of_ours_has(what, fake):
    graph, host, words = UNSUPPORTED[what]
    told = {"kind": fake.api.fake.kind, "version": fake.api.fake.version, "host": host}
    with pytest.raises(EngineError, match=words) as error:
        TrtEngine(fake.api, fake.gpu, fake_plan(graph, profile_of(graph, RECIPE.dimensions), **told), "x.engine")
    assert "trt engine" not in fake.cuda.alive  # though the error keeps the frames that it came through
    assert error.tb


def test_an_engine_without_activations(fake):
    told = {"kind": fake.api.fake.kind, "version": fake.api.fake.version}
    plan = fake_plan(SCALE, profile_of(SCALE, RECIPE.dimensions), memory=0, **told)
    with TrtEngine(fake.api, fake.gpu, plan, "x.engine") as engine:
        assert Runner(fake, engine, {"x": (3, 4)}).run(x=X, k=2)[1] == (X * 2).sum()


def test_an_output_whose_shape_is_not_known_before(fake):
    graph = graph_of({"x": (1, (4,))}, {"y": (7, (1, "found"))}, [("NonZero", ["x"], ["y"], {})])
    with fake.engine(graph) as engine:
        context = engine.context(fake.gpu.device(engine.memory_bytes))
        with pytest.raises(EngineError, match="the shape of 'y' is not known: it depends on what is fed"):
            context.shape("y")


def test_what_is_left_when_the_engine_is_dropped(fake):
    """Without close(), too, nothing stays on the GPU."""
    engine = fake.engine(SCALE)
    context = engine.context(fake.gpu.device(engine.memory_bytes))
    assert {"trt engine", "trt context"} <= set(fake.cuda.alive)
    del engine, context
    assert not {"trt engine", "trt context"} & set(fake.cuda.alive)


# From the store.

LEAN = Device("NVIDIA GeForce RTX 4090", (8, 9), "10.13.0", "tensorrt_lean")
FULL = changed(LEAN, tensorrt="10.13.0", kind="tensorrt")


def put(folder, device, **told):
    """A store with one engine of a graph."""
    bundle, store = make_bundle(), Store(folder)
    compatible = told.get("version_compatible", False)
    plan = fake_plan(SCALE, profile_of(SCALE, RECIPE.dimensions), kind=device.kind, version=device.tensorrt, **told)
    store.put(bundle, device, "detect", plan, record(plan=plan, device=device, version_compatible=compatible))
    return store, bundle


@pytest.mark.parametrize("name", FAKES)
def test_from_the_store(name, tmp_path, monkeypatch):
    with open_platform(name, monkeypatch) as fake:
        device = changed(FULL, tensorrt=fake.api.fake.version, kind=fake.api.fake.kind)
        store, bundle = put(tmp_path, device)
        with open_trt(store, bundle, "detect", device, fake.gpu) as engine:
            assert engine.name == "detect.engine"
            assert Runner(fake, engine, {"x": (3, 4)}).run(x=X, k=2)[1] == (X * 2).sum()


@pytest.mark.parametrize("device", [FULL, LEAN], ids=lambda device: device.kind)
def test_a_version_compatible_one_of_an_earlier_tensorrt(device, tmp_path, monkeypatch):
    store, bundle = put(tmp_path, changed(FULL, tensorrt="10.3.0"), version_compatible=True)
    monkeypatch.setitem(FAKES, "later", (device.kind, device.tensorrt, "12.9"))
    with open_platform("later", monkeypatch) as fake, open_trt(store, bundle, "detect", device, fake.gpu) as engine:
        assert engine.largest("x") == (8, 4)


def test_the_store_refuses_first(tmp_path, monkeypatch):
    """Code that came with an engine is run: no byte of one that was altered reaches TensorRT."""
    with open_platform("10.3", monkeypatch) as fake:
        device = changed(FULL, tensorrt="10.3.0")
        store, bundle = put(tmp_path, device)
        path = store.check(bundle, "detect", device)
        plan = path.read_bytes()
        path.write_bytes(plan[:-1] + bytes([plan[-1] ^ 1]))
        with pytest.raises(
            EngineError, match=f"altered since it was built: .*, got {sha(path.read_bytes())}; build it here"
        ):
            open_trt(store, bundle, "detect", device, fake.gpu)
        with pytest.raises(EngineError, match=r"embed\.engine: not built; build it here: nanoseg build"):
            open_trt(store, bundle, "embed", device, fake.gpu)
        assert not fake.api.fake.calls


def test_the_real_library_where_it_cannot_load(monkeypatch):
    """A plan that it built, its own logger and its own words; the GPU is made up, so it finds none."""
    rtx = pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
    if probe.cuda()["devices"]:
        pytest.skip("here it could load")
    plan = build_engine(rtx, SCALE, RECIPE).plan
    with (
        open_platform("rtx", monkeypatch) as fake,
        pytest.raises(EngineError, match=r"^x\.engine: tensorrt_rtx .* cannot load this engine: .*[Cc]uda"),
    ):
        TrtEngine(rtx, fake.gpu, plan, "x.engine")
