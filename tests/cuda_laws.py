"""What holds of every Gpu: each law is given an open one. On made-up GPUs in test_cuda.py, on a real one in
test_cuda_gpu.py."""

import gc
import threading

import numpy as np
import pytest

from nanoseg.errors import EngineError

DTYPES = (np.uint8, np.int8, np.float16, np.float32, np.int32, np.int64, np.bool_)


class Stranger:
    """An array of another library."""

    def __init__(self, address, shape, dtype, **more):
        told = {"shape": shape, "typestr": np.dtype(dtype).str, "data": (address, False), "version": 3}
        self.__cuda_array_interface__ = {**told, **more}


def send(gpu, array, stream):
    """`array` on the GPU, in a buffer of its own, when `stream` is done; and the pinned memory it comes from."""
    pinned, block = gpu.host(array.shape, array.dtype), gpu.device(array.nbytes)
    pinned.array[...] = array
    gpu.copy(block, pinned, stream)
    return block, pinned


def fetch(gpu, source, shape, dtype, stream):
    pinned = gpu.host(shape, dtype)
    pinned.array[...] = 0
    gpu.copy(pinned, source, stream)
    stream.synchronize()
    return pinned.array.copy()


def law_what_goes_in_comes_out(gpu):
    stream, rng = gpu.stream(), np.random.default_rng(0)
    for dtype in DTYPES:
        array = rng.integers(0, 2, (3, 5, 7)).astype(dtype)
        block, _pinned = send(gpu, array, stream)
        other = gpu.device(block.nbytes)
        gpu.copy(other, block, stream)
        np.testing.assert_array_equal(fetch(gpu, other.view(array.shape, dtype), array.shape, dtype, stream), array)


def law_a_view_is_a_part_of_its_buffer(gpu):
    stream = gpu.stream()
    block, pinned = send(gpu, np.arange(12, dtype=np.int32), stream)
    part, some = gpu.host((2, 2), np.int32), pinned.view((2, 2), np.int32, 8)
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
    frame = gpu.host((2, 4), np.uint8, mapped=True)
    frame.array[...] = 7
    seen = gpu.wrap(Stranger(frame.device_address, (2, 4), np.uint8))
    assert (fetch(gpu, seen, (2, 4), np.uint8, stream) == 7).all()
    row = frame.view((4,), np.uint8, 4)
    assert row.device_address == frame.device_address + 4
    frame.array[1] = 9
    seen = gpu.wrap(Stranger(row.device_address, (4,), np.uint8))
    assert (fetch(gpu, seen, (4,), np.uint8, stream) == 9).all()
    with pytest.raises(EngineError, match="mapped=True"):
        _ = gpu.host((1,), np.uint8).device_address


def law_a_stream_waits_for_an_event_of_another(gpu):
    first, second, made = gpu.stream(), gpu.stream(), gpu.event()
    block, pinned = send(gpu, np.full(1 << 20, 1, np.uint8), first)
    for value in range(2, 6):
        first.synchronize()
        pinned.array[...] = value
        gpu.copy(block, pinned, first)
        made.record(first)
        second.wait(made)
        assert (fetch(gpu, block, (1 << 20,), np.uint8, second) == value).all()


def law_events(gpu):
    stream, start, end = gpu.stream(), gpu.event(timing=True), gpu.event(timing=True)
    assert end.done()  # never recorded
    end.synchronize()
    start.record(stream)
    _block, _pinned = send(gpu, np.zeros(1 << 16, np.uint8), stream)
    end.record(stream)
    end.synchronize()
    assert end.done()
    assert end.ms_since(start) > 0
    again = gpu.event()
    again.record(stream)
    while not again.done():
        pass
    with pytest.raises(EngineError, match="timing=True"):
        again.ms_since(start)


def law_cleared_memory_is_all_zeros(gpu):
    stream = gpu.stream()
    block, _pinned = send(gpu, np.full(40, 7, np.uint8), stream)
    gpu.clear(block.view((5,), np.uint8, 3), stream)
    assert fetch(gpu, block, (40,), np.uint8, stream).tolist() == [7] * 3 + [0] * 5 + [7] * 32
    gpu.clear(block, stream)
    assert not fetch(gpu, block, (40,), np.uint8, stream).any()
    for what in (gpu.host((4,), np.int32), np.zeros(4)):
        with pytest.raises(EngineError, match=f"wanted a DeviceBuffer or DeviceArray, got {type(what).__name__}"):
            gpu.clear(what, stream)
    block.close()
    with pytest.raises(EngineError, match="DeviceBuffer: it is closed"):
        gpu.clear(block, stream)


def law_copies_are_checked(gpu):
    stream, host, block = gpu.stream(), gpu.host((4,), np.int32), gpu.device(20)
    for arguments, match in (
        ((block, host), "16 bytes do not fit 20"),
        ((host, block), "20 bytes do not fit 16"),
        ((host, host), "both lie on the host"),
        ((block, np.zeros(20, np.uint8)), "got ndarray"),
    ):
        with pytest.raises(EngineError, match=match):
            gpu.copy(*arguments, stream)
    for nothing in (lambda: gpu.host((0, 3), np.int32), lambda: gpu.device(0)):
        with pytest.raises(EngineError, match="at least 1 byte, got 0"):
            nothing()


def law_other_libraries_see_our_arrays(gpu):
    stream = gpu.stream()
    block, _pinned = send(gpu, np.arange(6, dtype=np.float32), stream)
    ours = block.view((2, 3), np.float32)
    told = ours.__cuda_array_interface__
    assert told == {
        "shape": (2, 3),
        "typestr": "<f4",
        "data": (block.address, False),
        "strides": None,
        "version": 3,
        "stream": None,
    }
    assert ours.after(stream).__cuda_array_interface__ == {**told, "stream": stream.handle}
    theirs = gpu.wrap(ours.after(stream))
    assert (theirs.address, theirs.shape, theirs.dtype) == (block.address, (2, 3), np.float32)


def law_arrays_of_others_are_waited_for(gpu):
    theirs, ours = gpu.stream(), gpu.stream()
    block, _pinned = send(gpu, np.arange(6, dtype=np.float32), theirs)
    array = Stranger(block.address, (2, 3), np.float32, stream=theirs.handle)
    for stream in (ours, None):
        seen = gpu.wrap(array, stream)
        assert seen.owner is array
        assert fetch(gpu, seen, (6,), np.float32, ours).tolist() == [0, 1, 2, 3, 4, 5]
    with pytest.raises(EngineError, match="does not lie in the memory of"):
        gpu.wrap(Stranger(np.zeros(4).ctypes.data, (4,), np.float64))


def law_what_is_closed_cannot_be_used(gpu):
    stream, event, host, block = gpu.stream(), gpu.event(), gpu.host((4,), np.int32, mapped=True), gpu.device(16)
    view, part, array = block.view((4,), np.int32), host.view((2,), np.int32), host.array
    array[...] = 5
    for _ in range(2):
        for each in (stream, event, host, block):
            each.close()
    uses = {
        "Stream": [lambda: stream.handle, stream.synchronize, lambda: stream.wait(event), lambda: event.record(stream)],
        "Event": [event.done, event.synchronize, lambda: event.record(gpu.stream())],
        "HostBuffer": [lambda: host.array, lambda: host.address, lambda: host.device_address],
        "DeviceBuffer": [lambda: block.address, lambda: view.address, lambda: view.__cuda_array_interface__],
    }
    uses["DeviceBuffer"] += [lambda: block.view((1,), np.int8), lambda: gpu.copy(view, gpu.host((4,), np.int32), None)]
    for what, tries in uses.items():
        for use in tries:
            with pytest.raises(EngineError, match=f"{what}: it is closed" if what != "Stream" else "it is closed"):
                use()
    assert array.tolist() == [5] * 4  # a view keeps the memory
    assert part.array.tolist() == [5] * 2


def law_a_view_outlives_its_gpu(gpu):
    host = gpu.host((1000,), np.int32)
    array = host.array[10:20]
    array[...] = 3
    gpu.close()
    gpu.close()
    assert array.tolist() == [3] * 10
    with pytest.raises(EngineError, match="HostBuffer: it is closed"):
        _ = host.array
    for use in (gpu.make_current, gpu.free_bytes, gpu.stream, gpu.event, gpu.synchronize, lambda: gpu.device(1)):
        with pytest.raises(EngineError, match="Gpu: it is closed"):
            use()


def law_what_nobody_holds_is_freed(gpu):
    size = gpu.free_bytes() // 3
    for _ in range(10):
        gpu.device(size)  # 10 of them do not fit
    gpu.stream(), gpu.event(), gpu.host((10,), np.int8)


def law_too_much_memory_is_an_error_that_says_how_much(gpu):
    with pytest.raises(EngineError, match=r"^cuMemAlloc: .*: wanted \d+\.\d GB of device memory, free ") as told:
        gpu.device(4 * gpu.memory_bytes)
    assert "\n" not in str(told.value)
    gpu.device(1).close()


def law_another_thread_can_use_it(gpu):
    stream, got = gpu.stream(), []
    block, _pinned = send(gpu, np.arange(5, dtype=np.int32), stream)

    def work():
        gpu.make_current()
        with gpu.stream() as own, gpu.event() as event:
            event.record(stream)
            own.wait(event)
            got.append(fetch(gpu, block, (5,), np.int32, own).tolist())

    for _ in range(3):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert got == [[0, 1, 2, 3, 4]] * 3


def law_a_graph_does_it_again_with_what_is_there_now(gpu):
    stream, rounds = gpu.stream(), []
    source, target, block = gpu.host((8,), np.float32), gpu.host((8,), np.float32), gpu.device(32)
    target.array[...] = -1
    with stream.capture() as captured:
        with pytest.raises(EngineError, match="before the block"):
            _ = captured.graph
        gpu.copy(block, source, stream)
        gpu.copy(target, block, stream)
    assert (target.array == -1).all()  # captured, not done
    for value in range(3):
        source.array[...] = value
        captured.graph.launch(stream)
        stream.synchronize()
        rounds.append(target.array.copy())
    assert [each.tolist() for each in rounds] == [[value] * 8 for value in range(3)]
    captured.graph.close()
    with pytest.raises(EngineError, match="Graph: it is closed"):
        captured.graph.launch(stream)


def law_a_graph_of_two_streams_tells_half_way(gpu):
    """As detect and embed run: the host learns of one while the other still runs."""
    first, second, fork, join = gpu.stream(), gpu.stream(), gpu.event(), gpu.event()
    half = gpu.event()
    source, target = (gpu.host((1 << 16,), np.uint8) for _ in range(2))
    other, block, beside = gpu.host((1 << 16,), np.uint8), gpu.device(1 << 16), gpu.device(1 << 16)
    with first.capture() as captured:
        gpu.copy(block, source, first)
        fork.record(first)
        second.wait(fork)
        gpu.copy(beside, block, second)
        gpu.copy(target, block, first)
        half.record(first, external=True)
        gpu.copy(other, beside, second)
        join.record(second)
        first.wait(join)
    for value in range(1, 4):
        source.array[...] = value
        captured.graph.launch(first)
        half.synchronize()
        assert (target.array == value).all()
        first.synchronize()
        assert (other.array == value).all()


def move(gpu, block, stream):
    """A little work."""
    gpu.copy(block.view((1,), np.float32, 4), block.view((1,), np.float32), stream)


def law_an_error_in_a_capture_leaves_the_stream_usable(gpu):
    stream, other, event, block = gpu.stream(), gpu.stream(), gpu.event(), gpu.device(16)
    kept = []

    def capture(*steps):
        with stream.capture() as captured:
            kept.append(captured)
            for step in steps:
                step()

    def quietly(step):
        with pytest.raises(EngineError):
            step()

    def fork():
        event.record(stream)
        other.wait(event)
        move(gpu, block, other)

    def fails():
        move(gpu, block, stream)
        raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            capture(fails)
        with pytest.raises(EngineError, match="before the block"):
            _ = kept[-1].graph
    for forbidden in (lambda: gpu.device(16), lambda: gpu.host((4,), np.int32), stream.synchronize, gpu.synchronize):
        with pytest.raises(EngineError, match=r"CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED: .*not while work is captured"):
            capture(forbidden)
        with pytest.raises(EngineError, match="CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"):
            capture(lambda forbidden=forbidden: quietly(forbidden))
    with pytest.raises(EngineError, match=r"CUDA_ERROR_STREAM_CAPTURE_UNJOINED: .*must wait for an event of every"):
        capture(fork)
    for each in (stream, other):
        sent, _pinned = send(gpu, np.arange(4, dtype=np.int32), each)
        assert fetch(gpu, sent, (4,), np.int32, each).tolist() == [0, 1, 2, 3]


def law_garbage_in_a_capture_does_not_spoil_it(gpu):
    stream, block = gpu.stream(), gpu.device(16)
    garbage = [gpu.device(16), gpu.host((4,), np.int8), gpu.event(), gpu.stream()]
    with stream.capture() as captured:
        garbage.clear()
        gc.collect()
        move(gpu, block, stream)
    captured.graph.launch(stream)
    stream.synchronize()


ALL = {name.removeprefix("law_"): law for name, law in list(globals().items()) if name.startswith("law_")}
GRAPHS = {name: law for name, law in ALL.items() if "graph" in name or "capture" in name}  # pycuda has none
