"""Engines and their contexts: the same laws on stand-ins and, under the mark gpu, on what is there."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from nanoseg.backends.engine import TensorSpec
from tests.backends.tensorrt.runner import Runner, X
from tests.fakes.tensorrt_platforms import SCALE, TYPES


def scaled(x, k):
    return [x * np.float32(k), (x * np.float32(k)).sum()]


def test_engine_inputs_and_outputs(platform):
    with platform.engine(SCALE) as engine:
        assert dict(engine.inputs) == {
            "x": TensorSpec(np.dtype("float32"), (None, 4)),
            "k": TensorSpec(np.dtype("float32"), ()),
        }
        assert dict(engine.outputs) == {
            "y": TensorSpec(np.dtype("float32"), (None, 4)),
            "total": TensorSpec(np.dtype("float32"), ()),
        }
        assert (engine.min_shape("x"), engine.max_shape("x")) == ((1, 4), (8, 4))
        assert engine.max_shape("k") == ()
        assert engine.memory_bytes >= 0
        assert engine.device == platform.gpu.name


def test_context_runs(platform):
    """One context, with one shape after another."""
    with platform.engine(SCALE) as engine:
        runner = Runner(platform, engine, {"x": (3, 4)})
        for count, k in ((3, 2.0), (8, 0.5), (1, -1.0), (8, 3.0)):
            x = np.resize(X, (count, 4))
            runner.reshape(x=x.shape)
            for message, wanted in zip(runner.run(x=x, k=k), scaled(x, k), strict=True):
                np.testing.assert_allclose(message, wanted, rtol=1e-6)


def test_context_dtypes(platform):
    with platform.engine(TYPES) as engine:
        message = {name: spec.dtype.name for name, spec in {**engine.inputs, **engine.outputs}.items()}
        assert message == {"pixels": "uint8", "half": "float16", "sum": "float16", "whole": "int32"}
        assert engine.max_shape("pixels") == engine.min_shape("pixels") == (1, 4, 4, 3)
        pixels = np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3)
        total, whole = Runner(platform, engine).run(pixels=pixels, half=np.full((1, 4, 4, 3), 1.25, np.float16))
        np.testing.assert_array_equal(total, pixels + np.float16(1.25))
        np.testing.assert_array_equal(whole, pixels.astype(np.int32) + 1)


def test_context_binds_mapped_memory(platform):
    with platform.engine(SCALE) as engine:
        runner = Runner(platform, engine, {"x": (3, 4)})
        x, y = (platform.gpu.host_buffer((3, 4), np.float32, mapped=True) for _ in range(2))
        runner.context.bind("x", x)
        runner.context.bind("y", y)
        x.array[...] = X
        runner.feed(k=2)
        runner.context.enqueue(runner.stream)
        runner.stream.synchronize()
        np.testing.assert_array_equal(y.array, X * 2)


def test_context_captured(platform):
    """A graph runs on the addresses of its capture, with what lies there then."""
    if not platform.gpu.supports_graphs:
        pytest.skip("this provider captures no graphs")
    with platform.engine(SCALE) as engine:
        runner = Runner(platform, engine, {"x": (3, 4)})
        runner.run(x=X, k=1)  # "to flush deferred updates"
        with runner.stream.capture() as capture:
            runner.context.enqueue(runner.stream)
        for k in (2.0, 5.0):
            runner.feed(x=X + 1, k=k)
            capture.graph.launch(runner.stream)
            for message, wanted in zip(runner.read("y", "total"), scaled(X + 1, k), strict=True):
                np.testing.assert_allclose(message, wanted, rtol=1e-6)
        capture.graph.close()


def test_contexts_share_activation_memory(platform):
    """Of two engines, each with two contexts: one after the other on one stream."""
    with platform.engine(SCALE) as scale, platform.engine(TYPES) as types:
        memory = platform.gpu.device_buffer(max(scale.memory_bytes, types.memory_bytes, 1))
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


def test_context_sized_by_its_shapes(platform):
    with platform.engine(SCALE) as engine:
        wanted = []

        def allocate(nbytes):
            wanted.append(nbytes)
            return platform.gpu.device_buffer(nbytes) if nbytes else None

        for count in (1, 3, 8):
            context = engine.sized_context({"x": (count, 4)}, allocate)
            runner = Runner(platform, engine, {"x": (count, 4)})
            for name, array in runner.arrays.items():
                context.bind(name, array)
            runner.context = context
            np.testing.assert_array_equal(runner.run(x=X[:1], k=2)[0], np.repeat(X[:1] * 2, count, axis=0))
        assert wanted == sorted(wanted)
        assert wanted[-1] <= engine.memory_bytes
        assert platform.cuda is None or wanted[0] < wanted[1] < wanted[2] == engine.memory_bytes


def test_context_in_other_threads(platform):
    """A thread that runs makes the GPU current; one that loads, makes a context or closes need not."""
    message = []

    def run(runner):
        platform.gpu.make_current()
        message.append(runner.run(x=X, k=3)[0])

    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second, ThreadPoolExecutor(1) as third:
        engine = first.submit(platform.engine, SCALE).result()
        memory = platform.gpu.device_buffer(max(engine.memory_bytes, 1))
        runner = Runner(platform, engine, {"x": (3, 4)}, memory)
        context = second.submit(engine.context, memory).result()
        second.submit(run, runner).result()
        del context
        third.submit(engine.close).result()
    np.testing.assert_array_equal(message[0], X * 3)
