"""Laws of every Gpu: buffers, their views, and the arrays of others."""

import numpy as np
import pytest

from nanoseg.errors import EngineError
from tests.backends.cuda.arrays import DTYPES, Stranger, fetch, send


def law_what_goes_in_comes_out(gpu):
    stream, rng = gpu.stream(), np.random.default_rng(0)
    for dtype in DTYPES:
        array = rng.integers(0, 2, (3, 5, 7)).astype(dtype)
        block, _pinned = send(gpu, array, stream)
        other = gpu.device_buffer(block.nbytes)
        gpu.copy(other, block, stream)
        np.testing.assert_array_equal(fetch(gpu, other.view(array.shape, dtype), array.shape, dtype, stream), array)


def law_a_view_is_a_part_of_its_buffer(gpu):
    stream = gpu.stream()
    block, pinned = send(gpu, np.arange(12, dtype=np.int32), stream)
    part, some = gpu.host_buffer((2, 2), np.int32), pinned.view((2, 2), np.int32, 8)
    assert (some.array == [[2, 3], [4, 5]]).all()
    assert (some.address - pinned.address, some.nbytes) == (8, 16)
    stream.synchronize()  # or the copy would see what is written now
    some.array[...] = [[20, 30], [40, 50]]
    assert pinned.array.tolist() == [0, 1, 20, 30, 40, 50, *range(6, 12)]
    gpu.copy(block.view((4,), np.int32, 32), some, stream)
    gpu.copy(part, block.view((2, 2), np.int32, 32), stream)
    assert fetch(gpu, block, (12,), np.int32, stream).tolist() == [*range(8), 20, 30, 40, 50]
    assert part.array.tolist() == [[20, 30], [40, 50]]
    view = block.view((3,), np.float16, 4)
    assert (view.address - block.address, view.shape, view.dtype, view.nbytes) == (4, (3,), np.float16, 6)
    for shape, dtype, offset in (((13,), np.int32, 0), ((1,), np.int32, 6), ((0,), np.int32, 0), ((1,), np.int8, -1)):
        for buffer in (block, pinned):
            with pytest.raises(EngineError, match=f"no {np.dtype(dtype).name} "):
                buffer.view(shape, dtype, offset)
    inner = some.view((1,), np.int32, 12)
    assert (inner.address - pinned.address, inner.array.tolist()) == (20, [50])
    with pytest.raises(EngineError, match="at byte 12 of 16"):
        some.view((2,), np.int32, 12)


def law_the_gpu_reaches_mapped_memory(gpu):
    stream = gpu.stream()
    frame = gpu.host_buffer((2, 4), np.uint8, mapped=True)
    frame.array[...] = 7
    seen = gpu.wrap(Stranger(frame.device_address, (2, 4), np.uint8))
    assert (fetch(gpu, seen, (2, 4), np.uint8, stream) == 7).all()
    row = frame.view((4,), np.uint8, 4)
    assert row.device_address == frame.device_address + 4
    frame.array[1] = 9
    seen = gpu.wrap(Stranger(row.device_address, (4,), np.uint8))
    assert (fetch(gpu, seen, (4,), np.uint8, stream) == 9).all()
    with pytest.raises(EngineError, match="mapped=True"):
        _ = gpu.host_buffer((1,), np.uint8).device_address


def law_cleared_memory_is_all_zeros(gpu):
    stream = gpu.stream()
    block, _pinned = send(gpu, np.full(40, 7, np.uint8), stream)
    gpu.clear(block.view((5,), np.uint8, 3), stream)
    assert fetch(gpu, block, (40,), np.uint8, stream).tolist() == [7] * 3 + [0] * 5 + [7] * 32
    gpu.clear(block, stream)
    assert not fetch(gpu, block, (40,), np.uint8, stream).any()
    for what in (gpu.host_buffer((4,), np.int32), np.zeros(4)):
        with pytest.raises(EngineError, match=f"wanted a DeviceBuffer or DeviceArray, got {type(what).__name__}"):
            gpu.clear(what, stream)
    block.close()
    with pytest.raises(EngineError, match="DeviceBuffer: it is closed"):
        gpu.clear(block, stream)


def law_copies_are_checked(gpu):
    stream, host, block = gpu.stream(), gpu.host_buffer((4,), np.int32), gpu.device_buffer(20)
    for arguments, match in (
        ((block, host), "16 bytes do not fit 20"),
        ((host, block), "20 bytes do not fit 16"),
        ((host, host), "both are in host memory"),
        ((block, np.zeros(20, np.uint8)), "got ndarray"),
    ):
        with pytest.raises(EngineError, match=match):
            gpu.copy(*arguments, stream)
    for nothing in (lambda: gpu.host_buffer((0, 3), np.int32), lambda: gpu.device_buffer(0)):
        with pytest.raises(EngineError, match="at least 1 byte, got 0"):
            nothing()


def law_other_libraries_see_our_arrays(gpu):
    stream = gpu.stream()
    block, _pinned = send(gpu, np.arange(6, dtype=np.float32), stream)
    ours = block.view((2, 3), np.float32)
    interface = ours.__cuda_array_interface__
    assert interface == {
        "shape": (2, 3),
        "typestr": "<f4",
        "data": (block.address, False),
        "strides": None,
        "version": 3,
        "stream": None,
    }
    assert ours.with_stream(stream).__cuda_array_interface__ == {**interface, "stream": stream.handle}
    theirs = gpu.wrap(ours.with_stream(stream))
    assert (theirs.address, theirs.shape, theirs.dtype) == (block.address, (2, 3), np.float32)


def law_arrays_of_others_are_waited_for(gpu):
    theirs, ours = gpu.stream(), gpu.stream()
    block, _pinned = send(gpu, np.arange(6, dtype=np.float32), theirs)
    array = Stranger(block.address, (2, 3), np.float32, stream=theirs.handle)
    for stream in (ours, None):
        seen = gpu.wrap(array, stream)
        assert seen.owner is array
        assert fetch(gpu, seen, (6,), np.float32, ours).tolist() == [0, 1, 2, 3, 4, 5]
    with pytest.raises(EngineError, match="is not in the memory of"):
        gpu.wrap(Stranger(np.zeros(4).ctypes.data, (4,), np.float64))


def law_too_much_memory_is_an_error_that_says_how_much(gpu):
    with pytest.raises(EngineError, match=r"^cuMemAlloc: .*: wanted \d+\.\d GB of device memory, free ") as error:
        gpu.device_buffer(4 * gpu.memory_bytes)
    assert "\n" not in str(error.value)
    gpu.device_buffer(1).close()
