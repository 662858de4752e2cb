"""That the fake GPUs are strict: about memory, and what work may touch."""

import numpy as np
import pytest

from tests.fakes.cuda_memory import UNSET, Fault


def test_fake_cuda_bad_addresses(gpu):
    device, host, stream = gpu.device(), gpu.host(), gpu.stream()
    gpu.refuses("INVALID_VALUE", "MemAlloc", 0)
    gpu.refuses("INVALID_VALUE", "MemcpyHtoDAsync", device, host, 17, stream, fault="no 17 bytes of pinned memory")
    gpu.refuses("INVALID_VALUE", "MemcpyHtoDAsync", device, np.zeros(16).ctypes.data, 16, stream, fault="pinned")
    gpu.refuses("INVALID_VALUE", "MemHostGetDevicePointer", host, 0)  # not mapped
    gpu.refuses("INVALID_VALUE", "MemFree", device + 1, fault="no device memory to free")
    gpu("MemFree", device)
    gpu.refuses("INVALID_VALUE", "MemFree", device, fault="freed before")
    gpu.refuses("INVALID_VALUE", "MemFreeHost", device, fault="no pinned memory to free")
    gpu.refuses("ILLEGAL_ADDRESS", "MemcpyHtoDAsync", device, host, 16, stream, fault="is freed")
    gpu.refuses("ILLEGAL_ADDRESS", "StreamSynchronize", stream)  # from here on it is all the driver says


@pytest.mark.parametrize("reach", [0, 1, -1, 1 << 20])
def test_fake_cuda_out_of_bounds(reach, gpu):
    device, host, stream = gpu.device(), gpu.host(1 << 21), gpu.stream()
    if reach:
        size = 16 + max(reach, 0)
        gpu.refuses("ILLEGAL_ADDRESS", "MemcpyHtoDAsync", device + min(reach, 0), host, size, stream, fault="no memory")
    else:
        gpu("MemcpyHtoDAsync", device, host, 16, stream)


def test_fake_cuda_fills_new_and_freed_memory(gpu):
    host = gpu.host()
    block = gpu.fake.memory.whose(host)
    assert gpu.at(gpu.device()) == {UNSET}
    array = block.data
    gpu("MemFreeHost", host)
    assert set(array.tolist()) == {0xDD}
    array[0] = 1
    with pytest.raises(AssertionError):
        gpu.fake.check()


def test_fake_cuda_memset(gpu):
    device, stream = gpu.device(), gpu.stream()
    gpu("MemsetD8Async", device + 4, 7, 8, stream)
    assert gpu.at(device) == {UNSET}
    gpu("StreamSynchronize", stream)
    assert gpu.fake.array(device, (16,), np.uint8).tolist() == [UNSET] * 4 + [7] * 8 + [UNSET] * 4
    other = gpu.stream()
    gpu("MemsetD8Async", device, 1, 16, stream)
    gpu("MemsetD8Async", device, 2, 16, other)
    assert "race" in gpu.fake.take_faults()[0]
    with pytest.raises(OverflowError):
        gpu("MemsetD8Async", device, 256, 1, stream)
    gpu.refuses("ILLEGAL_ADDRESS", "MemsetD8Async", device, 0, 17, stream, fault="no memory of 17 bytes")


def test_fake_cuda_free_before_wait(gpu):
    device, stream, event = gpu.device(), gpu.stream(), gpu.event()
    gpu.fill(stream, device, 1)
    gpu("EventRecord", event, stream)
    gpu("EventSynchronize", event)
    gpu("MemFree", device)
    assert not gpu.fake.take_faults()
    device = gpu.device()
    gpu.fill(stream, device, 1)
    gpu("MemFree", device)
    assert "before the work on it is waited for" in gpu.fake.take_faults()[0]


@pytest.mark.parametrize(
    ("touch", "got"),
    [
        (lambda window, named, _: window.array(named, (4,), np.float32).sum(), ""),
        (lambda window, _, other: window.array(other, (1,), np.uint8), "which it did not name"),
        (lambda window, named, _: window.array(named, (1,), np.uint8).fill(1), "read-only"),
    ],
)
def test_fake_cuda_work_accesses_only_declared_memory(touch, got, gpu):
    named, other, stream = gpu.device(), gpu.device(), gpu.stream()
    with pytest.raises(Fault, match="no memory of 17 bytes"):
        gpu.fake.enqueue(stream, touch, reads=[(named, 17)])
    gpu.fake.enqueue(stream, lambda window: touch(window, named, other), reads=[(named, 16)])
    code = gpu.fake.module.cuStreamSynchronize(stream)[0]
    assert bool(code) == bool(got)
    assert got in "".join(gpu.fake.take_faults())
