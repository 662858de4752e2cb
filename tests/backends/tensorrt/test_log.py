"""Whose message TensorRT's are: it has one logger for all engines and threads."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from nanoseg.backends.tensorrt.engine import TrtEngine
from nanoseg.backends.tensorrt.log import shared_logger
from nanoseg.errors import EngineError
from tests.backends.tensorrt.failures import FAILURES, run_once
from tests.backends.tensorrt.runner import X
from tests.fakes.tensorrt_platforms import SCALE
from tests.fakes.tensorrt_runtime import fake_plan


def test_log_messages_of_two_engines(fake):
    """TensorRT tells them all to the logger that it was given first."""
    with fake.engine(SCALE, "one.engine") as one, fake.engine(SCALE, "two.engine") as two:
        for engine in (two, one):
            memory = fake.gpu.device_buffer(engine.memory_bytes)
            with pytest.raises(EngineError, match=rf"^{engine.name}: .*exceeds the range .* of profile 0\)$"):
                engine.context(memory).set_shape("x", (9, 4))
        assert not any("logger" in each for each in fake.api.fake.text)


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
def test_log_messages_of_another_thread(function, fails, fake, monkeypatch):
    """It is another engine's fault: it lets nothing fail here, and is in no message of this thread's."""
    messages = []

    def load_a_bad_one():
        with pytest.raises(EngineError) as error:
            TrtEngine(fake.api, fake.gpu, b"no plan", "bad.engine")
        messages.append(str(error.value))

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
    assert messages
    assert all("magicTag" in each and "ran out" not in each and "plan is of" not in each for each in messages)


def test_log_messages_of_tensorrts_own_thread(fake, monkeypatch):
    """It compiles in some: where this one was message nothing, their message are better than none."""
    with fake.engine(SCALE) as engine:
        monkeypatch.setattr(
            fake.api.ICudaEngine,
            "create_execution_context",
            lambda *_: in_another_thread(lambda: fake.api.fake.say("Error Code 9: no such kernel")),
        )
        with pytest.raises(EngineError, match=r"x\.engine: no context can be made: Error Code 9: no such kernel$"):
            engine.context(fake.gpu.device_buffer(engine.memory_bytes))


def test_log_is_bounded(fake):
    with fake.engine(SCALE) as engine:
        context = engine.context(fake.gpu.device_buffer(engine.memory_bytes))
        for side in range(100, 300):
            with pytest.raises(EngineError, match=rf"{side}, 4\) exceeds"):
                context.set_shape("x", (side, 4))
        assert len(shared_logger(fake.api)[1]._last) < 100
