"""What a context keeps, what a run makes, and engines that are not as usual."""

import pytest

from nanoseg.backends.tensorrt.engine import TrtEngine
from nanoseg.errors import EngineError
from tests.backends.tensorrt.runner import Runner, X
from tests.fakes.tensorrt_platforms import RECIPE, SCALE, graph_of
from tests.fakes.tensorrt_runtime import fake_plan, profile_of


def test_context_keeps_bound_arrays(fake):
    with fake.engine(SCALE) as engine:
        runner = Runner(fake, engine, {"x": (3, 4)})
        before = fake.cuda.alive["device"]
        runner.arrays.clear()
        assert fake.cuda.alive["device"] == before
        runner.context.close()
        assert fake.cuda.alive["device"] == before - 4


def test_context_run_allocates_nothing(fake):
    with fake.engine(SCALE) as engine:
        runner = Runner(fake, engine, {"x": (3, 4)})
        runner.run(x=X, k=1)
        before, calls = dict(fake.cuda.allocations), dict(fake.api.fake.calls)
        for k in range(5):
            runner.context.set_shape("x", (3, 4))
            runner.context.bind("x", runner.arrays["x"])
            runner.run(x=X, k=k)
        assert fake.cuda.allocations == before
        # Nor are unchanged shapes set again: that would delay work.
        assert {name: count - calls[name] for name, count in fake.api.fake.calls.items() if count != calls[name]} == {
            "execute_async_v3": 5
        }


UNSUPPORTED = {
    "bfloat16": (
        graph_of({"x": (16, (1,))}, {"y": (16, (1,))}, [("Identity", ["x"], ["y"], {})]),
        (),
        "is bfloat16, wanted one of float32, float16",
    ),
    "a shape": (SCALE, ["k"], "'k' is a shape tensor"),
}


@pytest.mark.parametrize("what", UNSUPPORTED)
def test_engine_unsupported_tensors(what, fake):
    graph, host, words = UNSUPPORTED[what]
    settings = {"kind": fake.api.fake.kind, "version": fake.api.fake.version, "host": host}
    with pytest.raises(EngineError, match=words) as error:
        TrtEngine(fake.api, fake.gpu, fake_plan(graph, profile_of(graph, RECIPE.dimensions), **settings), "x.engine")
    assert "trt engine" not in fake.cuda.alive  # though the error keeps the frames that it came through
    assert error.tb


def test_engine_without_activations(fake):
    settings = {"kind": fake.api.fake.kind, "version": fake.api.fake.version}
    plan = fake_plan(SCALE, profile_of(SCALE, RECIPE.dimensions), memory=0, **settings)
    with TrtEngine(fake.api, fake.gpu, plan, "x.engine") as engine:
        assert Runner(fake, engine, {"x": (3, 4)}).run(x=X, k=2)[1] == (X * 2).sum()


def test_context_data_dependent_shape(fake):
    graph = graph_of({"x": (1, (4,))}, {"y": (7, (1, "found"))}, [("NonZero", ["x"], ["y"], {})])
    with fake.engine(graph) as engine:
        context = engine.context(fake.gpu.device_buffer(engine.memory_bytes))
        with pytest.raises(EngineError, match="the shape of 'y' is not known: it depends on the input values"):
            context.shape("y")


def test_engine_garbage_collected(fake):
    """Without close(), too, nothing stays on the GPU."""
    engine = fake.engine(SCALE)
    context = engine.context(fake.gpu.device_buffer(engine.memory_bytes))
    assert {"trt engine", "trt context"} <= set(fake.cuda.alive)
    del engine, context
    assert not {"trt engine", "trt context"} & set(fake.cuda.alive)
