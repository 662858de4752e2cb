"""The fake of TensorRT's runtime forgives nothing: captures and their graphs."""

import numpy as np
import pytest

from nanoseg.backends.cuda import open_gpu
from tests.fakes.cuda import FakeCuda
from tests.fakes.laws.tensorrt_bench import MEMORY_BYTES, PROFILE, Log, X
from tests.fakes.tensorrt_platforms import SCALE
from tests.fakes.tensorrt_runtime import ExecutionContextAllocationStrategy, fake_plan, fake_trt


def test_fake_tensorrt_capture_needs_a_run_first(bench):
    for _ in range(2):
        with pytest.raises(Exception, match="INVALIDATED"), bench.stream.capture():
            assert not bench.enqueue()
        assert "CAPTURE_UNSUPPORTED" in bench.errors()[-1]
        assert not bench.enqueue()  # once: the last error is returned by the next call
        assert "not permitted when stream is capturing" in bench.errors()[-1]
        assert bench.enqueue()
        bench.capture().close()
        assert bench.context.set_input_shape("x", (3, 4))
    bench.gpu.synchronize()


def test_fake_tensorrt_engine_not_capturable(clean):
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
def test_fake_tensorrt_graph_of_changed_context(what, bench):
    bench.enqueue()
    graph = bench.capture()
    CHANGES[what](bench)
    graph.launch(bench.stream)
    bench.stream.synchronize()
    assert bench.cuda.take_faults() == ["a graph is launched after the context that it was captured from was changed"]
    graph.close()


def test_fake_tensorrt_context_freed_during_work(bench):
    bench.enqueue()
    graph = bench.capture()
    bench.context = None
    bench.stream.synchronize()
    assert bench.cuda.take_faults() == ["a context is gone before its work is done"]
    graph.launch(bench.stream)
    bench.stream.synchronize()
    assert bench.cuda.take_faults()
    graph.close()


def test_fake_rtx_needs_eager_kernels(monkeypatch):
    cuda, log = FakeCuda().install(monkeypatch), Log()
    api = fake_trt(cuda, "1.7.1", "tensorrt-rtx")
    with open_gpu():
        plan = fake_plan(SCALE, PROFILE, MEMORY_BYTES, kind="tensorrt-rtx", version="1.7.1")
        runtime = api.Runtime(log)
        engine = runtime.deserialize_cuda_engine(plan)
        lazy, eager = engine.create_runtime_config(), engine.create_runtime_config()
        for each in (lazy, eager):
            each.set_execution_context_allocation_strategy(ExecutionContextAllocationStrategy.USER_MANAGED)
        eager.dynamic_shapes_kernel_specialization_strategy = api.DynamicShapesKernelSpecializationStrategy.EAGER
        for number, each in enumerate((ExecutionContextAllocationStrategy.USER_MANAGED, lazy), 1):
            assert engine.create_execution_context(each) is None
            assert "behind a captured graph's back" in log.text[-1][1]
            assert len(log.text) == number
        assert engine.create_execution_context(eager) is not None
        del engine, lazy, eager, each, runtime
