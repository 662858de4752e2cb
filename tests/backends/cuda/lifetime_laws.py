"""Laws of every Gpu: what is closed, what outlives it, what nobody holds; and who waits for whom."""

import threading

import numpy as np
import pytest

from nanoseg.errors import EngineError
from tests.backends.cuda.arrays import fetch, send


def law_what_is_closed_cannot_be_used(gpu):
    stream, event, host, block = (
        gpu.stream(),
        gpu.event(),
        gpu.host_buffer((4,), np.int32, mapped=True),
        gpu.device_buffer(16),
    )
    view, part, array = block.view((4,), np.int32), host.view((2,), np.int32), host.array
    array[...] = 5
    for _ in range(2):
        for each in (stream, event, host, block):
            each.close()
    uses = {
        "Stream": [lambda: stream.handle, stream.synchronize, lambda: stream.wait(event), lambda: event.record(stream)],
        "Event": [event.query, event.synchronize, lambda: event.record(gpu.stream())],
        "HostBuffer": [lambda: host.array, lambda: host.address, lambda: host.device_address],
        "DeviceBuffer": [lambda: block.address, lambda: view.address, lambda: view.__cuda_array_interface__],
    }
    uses["DeviceBuffer"] += [
        lambda: block.view((1,), np.int8),
        lambda: gpu.copy(view, gpu.host_buffer((4,), np.int32), None),
    ]
    for what, tries in uses.items():
        for use in tries:
            with pytest.raises(EngineError, match=f"{what}: it is closed" if what != "Stream" else "it is closed"):
                use()
    assert array.tolist() == [5] * 4  # a view keeps the memory
    assert part.array.tolist() == [5] * 2


def law_a_view_outlives_its_gpu(gpu):
    host = gpu.host_buffer((1000,), np.int32)
    array = host.array[10:20]
    array[...] = 3
    gpu.close()
    gpu.close()
    assert array.tolist() == [3] * 10
    with pytest.raises(EngineError, match="HostBuffer: it is closed"):
        _ = host.array
    for use in (gpu.make_current, gpu.free_bytes, gpu.stream, gpu.event, gpu.synchronize, lambda: gpu.device_buffer(1)):
        with pytest.raises(EngineError, match="Gpu: it is closed"):
            use()


def law_what_nobody_holds_is_freed(gpu):
    size = gpu.free_bytes() // 3
    for _ in range(10):
        gpu.device_buffer(size)  # 10 of them do not fit
    gpu.stream(), gpu.event(), gpu.host_buffer((10,), np.int8)


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
    assert end.query()  # never recorded
    end.synchronize()
    start.record(stream)
    _block, _pinned = send(gpu, np.zeros(1 << 16, np.uint8), stream)
    end.record(stream)
    end.synchronize()
    assert end.query()
    assert end.ms_since(start) > 0
    again = gpu.event()
    again.record(stream)
    while not again.query():
        pass
    with pytest.raises(EngineError, match="timing=True"):
        again.ms_since(start)


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
