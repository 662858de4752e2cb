"""Results of CUDA calls are checked, and errors named and raised once."""

import gc
import sys

import numpy as np
import pytest

from nanoseg.backends.cuda import open_gpu
from nanoseg.errors import EngineError
from tests.fakes.cuda import FakeCuda


@pytest.mark.parametrize(
    "function", ["cuMemAlloc", "cuMemHostAlloc", "cuStreamCreate", "cuEventCreate", "cuMemGetInfo"]
)
def test_driver_errors_are_named(function, fake):
    with open_gpu() as gpu:
        make = {
            "cuMemAlloc": lambda: gpu.device_buffer(4),
            "cuMemHostAlloc": lambda: gpu.host_buffer((4,), np.int8),
            "cuStreamCreate": gpu.stream,
            "cuEventCreate": gpu.event,
            "cuMemGetInfo": gpu.free_bytes,
        }[function]
        fake.fails[function] = "NOT_PERMITTED"
        with pytest.raises(EngineError, match=f"^{function}: CUDA_ERROR_NOT_PERMITTED$"):
            make()
        fake.fails.clear()
        make()


def test_driver_without_a_function_is_too_old(fake, monkeypatch):
    class FunctionNotFoundError(RuntimeError):
        """As cuda-bindings raise it."""

    def fail(*_):
        raise FunctionNotFoundError("Function cuStreamCreate is not found")

    with open_gpu() as gpu:
        monkeypatch.setattr(sys.modules["cuda.bindings.driver"], "cuStreamCreate", fail)
        with pytest.raises(EngineError, match=r"^cuStreamCreate: not found: this machine's driver, for CUDA 1\d\.\d,"):
            gpu.stream()


def test_host_buffer_out_of_memory(fake):
    with open_gpu() as gpu:
        fake.fails["cuMemHostAlloc"] = "OUT_OF_MEMORY"
        with pytest.raises(
            EngineError, match=r"wanted 12\.6 MB of pinned memory, free are 25\.8 GB of 25\.8 GB; close"
        ):
            gpu.host_buffer((12_600_000,), np.uint8)


def test_host_buffer_freed_where_mapping_fails(fake):
    with open_gpu() as gpu:
        fake.fails["cuMemHostGetDevicePointer"] = "NOT_SUPPORTED"
        with pytest.raises(EngineError, match="cuMemHostGetDevicePointer: CUDA_ERROR_NOT_SUPPORTED"):
            gpu.host_buffer((4,), np.int8, mapped=True)
        gc.collect()
        assert "pinned" not in fake.alive


def test_gpu_failed_work_is_reported_once(monkeypatch):
    fake = FakeCuda().install(monkeypatch)

    def breaks(window):
        raise ValueError("a kernel that fails")

    def use():
        with open_gpu() as gpu:
            stream, _host, _block = gpu.stream(), gpu.host_buffer((4,), np.int8), gpu.device_buffer(4)
            fake.enqueue(stream.handle, breaks)
            stream.synchronize()

    with pytest.raises(EngineError, match=r"^cuStreamSynchronize: CUDA_ERROR_LAUNCH_FAILED: .*start it again$"):
        use()
    assert "a kernel that fails" in fake.take_faults()[0]


def test_gpu_failed_work_is_reported_at_close(monkeypatch):
    fake = FakeCuda().install(monkeypatch)
    gpu = open_gpu()
    stream = gpu.stream()
    fake.enqueue(stream.handle, lambda window: 1 / 0)
    with pytest.raises(EngineError, match="cuStreamSynchronize: CUDA_ERROR_LAUNCH_FAILED"):
        gpu.close()
    gpu.close()
