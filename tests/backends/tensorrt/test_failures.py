"""Where TensorRT fails: what is message, and that the next call works."""

import numpy as np
import pytest

from nanoseg.backends import probe
from nanoseg.backends.tensorrt.build.engine import build_engine
from nanoseg.backends.tensorrt.engine import TrtEngine
from nanoseg.errors import EngineError
from tests.backends.tensorrt.failures import FAILURES, run_once
from tests.backends.tensorrt.runner import Runner, X
from tests.fakes.tensorrt_platforms import RECIPE, SCALE, open_platform


def test_engine_bad_plan(platform):
    with pytest.raises(
        EngineError, match=r"^bad\.engine: .* cannot load this engine: .*build it on this device$"
    ) as error:
        TrtEngine(platform.api, platform.gpu, b"no plan at all" * 99, "bad.engine")
    assert "does not say why" not in str(error.value)


@pytest.mark.parametrize("function", FAILURES)
def test_engine_failure_is_explained_and_recovered(function, fake):
    fake.api.fake.fails[function] = "Error Code 1:\nMyelin ran out"
    with pytest.raises(EngineError) as error:
        run_once(fake)
    assert FAILURES[function] in str(error.value)
    assert "Error Code 1: Myelin ran out" in str(error.value)
    assert "\n" not in str(error.value)
    del fake.api.fake.fails[function]
    np.testing.assert_array_equal(run_once(fake)[0], X[:2] * 2)


def test_context_refused_address(fake):
    """Neither the old array nor the new one is there then."""
    with fake.engine(SCALE) as engine:
        runner = Runner(fake, engine, {"x": (3, 4)})
        other = fake.gpu.device_buffer(48).view((3, 4), np.float32)
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
def test_engine_exceptions_of_the_bindings(function, fake, monkeypatch):
    """pybind does where it cannot take an argument, say."""

    def fail(self, *_):
        raise TypeError("incompatible function arguments\nThe following are supported:")

    owner = fake.api.ICudaEngine if function == "create_execution_context" else fake.api.IExecutionContext
    monkeypatch.setattr(owner, function, fail)
    with pytest.raises(EngineError, match="incompatible function arguments The following"):
        run_once(fake)


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        ("Cuda Runtime (out of memory)", "close other programs"),
        ("Cuda Runtime (cudaError 35: CUDA driver version is insufficient)", "run nanoseg doctor to see"),
        ("magic tag is wrong", "build it on this device"),
    ],
)
def test_engine_load_advice(message, advice, fake):
    fake.api.fake.fails["deserialize_cuda_engine"] = message
    with pytest.raises(EngineError, match=advice):
        fake.engine(SCALE)


def test_context_capture_after_new_shape(fake):
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


def test_engine_real_library_without_gpu(monkeypatch):
    """A plan that it built, its own logger and its own message; the GPU is made up, so it finds none."""
    rtx = pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
    if probe.cuda()["devices"]:
        pytest.skip("here it could load")
    plan = build_engine(rtx, SCALE, RECIPE).plan
    with (
        open_platform("rtx", monkeypatch) as fake,
        pytest.raises(EngineError, match=r"^x\.engine: tensorrt_rtx .* cannot load this engine: .*[Cc]uda"),
    ):
        TrtEngine(rtx, fake.gpu, plan, "x.engine")
