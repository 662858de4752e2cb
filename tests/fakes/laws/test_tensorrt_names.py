"""The fake of TensorRT's runtime: references it keeps, the logger it uses, and the names it has."""

import json

import pytest

from tests.fakes.cuda import FakeCuda
from tests.fakes.laws.tensorrt_bench import PLAN, Log
from tests.fakes.tensorrt_runtime import ExecutionContextAllocationStrategy, fake_trt


def test_fake_tensorrt_needs_current_context(bench):
    driver = bench.cuda.module
    _, current = driver.cuCtxPopCurrent()
    assert bench.runtime.deserialize_cuda_engine(PLAN) is None
    assert bench.engine.create_execution_context(ExecutionContextAllocationStrategy.USER_MANAGED) is None
    assert not bench.enqueue()
    assert "INVALID_CONTEXT" in bench.errors()[-1]
    driver.cuCtxPushCurrent(current)
    assert bench.enqueue()
    bench.gpu.synchronize()


def test_fake_tensorrt_counts_objects(bench):
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


def test_fake_tensorrt_engine_outlives_gpu(bench):
    bench.gpu.close()
    assert any("trt engine" in fault for fault in bench.cuda.take_faults())
    bench.context = None
    assert "a trt context is destroyed where the context that it was made in is not current" in bench.cuda.take_faults()


def test_fake_tensorrt_has_one_logger(bench):
    second = Log()
    runtime = bench.trt.Runtime(second)
    assert runtime.deserialize_cuda_engine(b"") is None
    assert second.text == []
    assert any("differs from one already provided" in words for _, words in bench.log.text)
    assert "magicTag" in bench.errors()[-1]


@pytest.mark.parametrize(
    ("kind", "version"),
    [*(("tensorrt", version) for version in ("10.3", "10.13", "11.4", "rtx-1.7")), ("tensorrt-rtx", "rtx-1.7")],
)
def test_fake_tensorrt_names_are_those_of_tensorrt(kind, version, data):
    known = json.loads((data / "tensorrt-api" / f"{version}.json").read_text())
    module = fake_trt(FakeCuda(), kind=kind)
    kinds = [kind for kind in vars(module).values() if isinstance(kind, type)]
    assert len(kinds) == (8 if kind == "tensorrt" else 10)
    for name, kind in vars(module).items():
        if isinstance(kind, type):
            assert name in known["tensorrt"]
            got = {each for each in dir(kind) if not each.startswith("_")}
            assert got <= set(known[name]), name
