"""That the fake GPUs are strict: about captures and their graphs."""

import threading

import pytest

from tests.fakes.cuda_memory import Fault


def test_fake_cuda_graph_with_freed_memory(gpu):
    device, stream = gpu.device(), gpu.stream()
    gpu.capture(stream)
    gpu.fill(stream, device, 1)
    graph = gpu.graph(stream)
    gpu("MemFree", device)
    gpu.refuses("ILLEGAL_ADDRESS", "GraphLaunch", graph, stream, fault="after memory that it works on was freed")


@pytest.mark.parametrize(
    ("function", "code"),
    [
        ("MemAlloc", "STREAM_CAPTURE_UNSUPPORTED"),
        ("MemHostAlloc", "STREAM_CAPTURE_UNSUPPORTED"),
        ("MemFree", "STREAM_CAPTURE_UNSUPPORTED"),
        ("MemFreeHost", "STREAM_CAPTURE_UNSUPPORTED"),
        ("StreamSynchronize", "STREAM_CAPTURE_UNSUPPORTED"),
        ("StreamDestroy", "STREAM_CAPTURE_UNSUPPORTED"),
        ("CtxSynchronize", "STREAM_CAPTURE_UNSUPPORTED"),
        ("EventQuery", "CAPTURED_EVENT"),
        ("EventSynchronize", "CAPTURED_EVENT"),
        ("StreamWaitEvent", "STREAM_CAPTURE_ISOLATION"),
        ("GraphLaunch", "STREAM_CAPTURE_UNSUPPORTED"),
    ],
)
def test_fake_cuda_capture_invalidated(function, code, gpu):
    device, host, stream, event, outside = gpu.device(), gpu.host(), gpu.stream(), gpu.event(), gpu.event()
    gpu.capture(stream)
    graph = gpu.graph(stream)
    gpu("EventRecord", outside, stream)
    gpu.capture(stream)
    gpu("EventRecord", event, stream)
    arguments = {
        "MemAlloc": [16],
        "MemHostAlloc": [16, 1],
        "MemFree": [device],
        "MemFreeHost": [host],
        "CtxSynchronize": [],
        "EventQuery": [event],
        "EventSynchronize": [event],
        "StreamWaitEvent": [stream, outside, 0],
        "GraphLaunch": [graph, stream],
    }
    gpu.refuses(code, function, *arguments.get(function, [stream]))
    with pytest.raises(Fault, match="STREAM_CAPTURE_INVALIDATED"):
        gpu.fill(stream, device, 1)
    gpu.refuses("STREAM_CAPTURE_INVALIDATED", "EventRecord", event, stream)
    gpu.refuses("STREAM_CAPTURE_INVALIDATED", "StreamEndCapture", stream)
    gpu("StreamSynchronize", stream)
    gpu("MemFree", device)


def test_fake_cuda_capture_end(gpu):
    device, first, second, event = gpu.device(), gpu.stream(), gpu.stream(), gpu.event()
    gpu.refuses("ILLEGAL_STATE", "StreamEndCapture", first)
    for joined in (False, True):
        gpu.capture(first)
        gpu("EventRecord", event, first)
        gpu("StreamWaitEvent", second, event, 0)
        gpu.fill(second, device, 1)
        if joined:
            gpu("EventRecord", event, second)
            gpu("StreamWaitEvent", first, event, 0)
            gpu.graph(first)
        else:
            gpu.refuses("STREAM_CAPTURE_UNJOINED", "StreamEndCapture", first)
    gpu.refuses("CAPTURED_EVENT", "StreamWaitEvent", second, event, 0)  # it belongs to a graph by now
    gpu.capture(first)
    gpu("EventRecord", event, first)
    gpu("StreamWaitEvent", second, event, 0)
    gpu.refuses("STREAM_CAPTURE_UNMATCHED", "StreamEndCapture", second)
    gpu.refuses("STREAM_CAPTURE_INVALIDATED", "StreamEndCapture", first)
    gpu.capture(first)
    gpu("EventRecord", event, first)
    gpu.capture(second)
    gpu.refuses("STREAM_CAPTURE_MERGE", "StreamWaitEvent", second, event, 0)


def test_fake_cuda_capture_in_threads(gpu):
    stream, text = gpu.stream(), []
    gpu.capture(stream)

    def other():
        gpu.fake.stack().append(gpu.fake.retain(0))
        text.append(gpu.device())  # thread-local: others may do as they like
        gpu.refuses("STREAM_CAPTURE_WRONG_THREAD", "StreamEndCapture", stream)
        text.append(True)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert len(text) == 2
    gpu.graph(stream)


def test_fake_cuda_external_events(gpu):
    device, stream, event = gpu.device(), gpu.stream(), gpu.event()
    gpu.refuses("INVALID_VALUE", "EventRecordWithFlags", event, stream, 1)  # "invalid outside of stream capture"
    gpu.capture(stream)
    gpu.fill(stream, device, 1)
    gpu("EventRecordWithFlags", event, stream, 1)
    gpu.fill(stream, device, 2)
    graph = gpu.graph(stream)
    for _ in range(2):
        gpu("GraphLaunch", graph, stream)
        gpu("EventSynchronize", event)
        assert gpu.at(device) == {1}
        gpu("StreamSynchronize", stream)
        assert gpu.at(device) == {2}
