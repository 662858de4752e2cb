"""Laws of every Gpu that captures graphs."""

import gc

import numpy as np
import pytest

from nanoseg.errors import EngineError
from tests.backends.cuda.arrays import fetch, move, send


def law_a_graph_does_it_again_with_what_is_there_now(gpu):
    stream, rounds = gpu.stream(), []
    source, target, block = gpu.host_buffer((8,), np.float32), gpu.host_buffer((8,), np.float32), gpu.device_buffer(32)
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
    with pytest.raises(EngineError, match="CudaGraph: it is closed"):
        captured.graph.launch(stream)


def law_a_graph_of_two_streams_tells_half_way(gpu):
    """As detect and embed run: the host learns of one while the other still runs."""
    first, second, fork, join = gpu.stream(), gpu.stream(), gpu.event(), gpu.event()
    half = gpu.event()
    source, target = (gpu.host_buffer((1 << 16,), np.uint8) for _ in range(2))
    other, block, beside = gpu.host_buffer((1 << 16,), np.uint8), gpu.device_buffer(1 << 16), gpu.device_buffer(1 << 16)
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


def law_an_error_in_a_capture_leaves_the_stream_usable(gpu):
    stream, other, event, block = gpu.stream(), gpu.stream(), gpu.event(), gpu.device_buffer(16)
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
    for forbidden in (
        lambda: gpu.device_buffer(16),
        lambda: gpu.host_buffer((4,), np.int32),
        stream.synchronize,
        gpu.synchronize,
    ):
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
    stream, block = gpu.stream(), gpu.device_buffer(16)
    garbage = [gpu.device_buffer(16), gpu.host_buffer((4,), np.int8), gpu.event(), gpu.stream()]
    with stream.capture() as captured:
        garbage.clear()
        gc.collect()
        move(gpu, block, stream)
    captured.graph.launch(stream)
    stream.synchronize()
