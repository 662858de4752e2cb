"""That the made-up GPUs are strict, and have no name that the real libraries have not."""

import inspect
import threading

import numpy as np
import pytest

from tests.fake_cuda import VERSIONS, FakeCuda, names_of
from tests.fake_cuda_memory import UNSET, Fault
from tests.fake_cuda_stream_calls import Calls
from tests.fake_pycuda import FakePycuda

LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL


class Machine:
    """A fake with a context, and short words for what tests do to it; a word gives the value, or raises the code."""

    def __init__(self):
        self.fake = FakeCuda()
        self("Init", 0)
        self("CtxPushCurrent", self("DevicePrimaryCtxRetain", 0))

    def __call__(self, function, *arguments):
        code, *values = getattr(self.fake.module, f"cu{function}")(*arguments)
        if code:
            raise Fault(code.name.removeprefix("CUDA_ERROR_"))
        return values[0] if len(values) == 1 else tuple(values)

    def stream(self):
        return self("StreamCreate", 1)

    def event(self):
        return self("EventCreate", 2)

    def device(self, nbytes=16):
        return int(self("MemAlloc", nbytes))

    def host(self, nbytes=16, flags=1):
        return self("MemHostAlloc", nbytes, flags)

    def capture(self, stream):
        self("StreamBeginCapture", stream, self.fake.module.CUstreamCaptureMode(LOCAL))

    def graph(self, stream):
        return self("GraphInstantiate", self("StreamEndCapture", stream), 0)

    def fill(self, stream, address, value, nbytes=16):
        def operation(window):
            window.array(address, (nbytes,), np.uint8)[...] = value

        self.fake.enqueue(stream, operation, writes=[(address, nbytes)])

    def at(self, address, nbytes=16):
        return set(self.fake.array(address, (nbytes,), np.uint8).tolist())

    def refuses(self, code, function, *arguments, fault=""):
        with pytest.raises(Fault, match=f"^{code}$"):
            self(function, *arguments)
        faults = self.fake.take_faults()
        assert len(faults) == bool(fault)
        if fault:
            assert fault in faults[0]


@pytest.fixture
def gpu():
    return Machine()


# Memory.


def test_memory_that_is_not_there(gpu):
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
def test_beyond_the_end(reach, gpu):
    device, host, stream = gpu.device(), gpu.host(1 << 21), gpu.stream()
    if reach:
        size = 16 + max(reach, 0)
        gpu.refuses("ILLEGAL_ADDRESS", "MemcpyHtoDAsync", device + min(reach, 0), host, size, stream, fault="no memory")
    else:
        gpu("MemcpyHtoDAsync", device, host, 16, stream)


def test_new_and_freed_memory_hold_no_zeros(gpu):
    host = gpu.host()
    block = gpu.fake.memory.whose(host)
    assert gpu.at(gpu.device()) == {UNSET}
    array = block.data
    gpu("MemFreeHost", host)
    assert set(array.tolist()) == {0xDD}
    array[0] = 1
    with pytest.raises(AssertionError):
        gpu.fake.check()


def test_memory_is_set_when_its_turn_comes(gpu):
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


def test_too_much_memory(gpu):
    free, total = gpu("MemGetInfo")
    gpu.device(1000)
    assert gpu("MemGetInfo") == (free - 1000, total)
    gpu.refuses("OUT_OF_MEMORY", "MemAlloc", free)


def test_freed_before_the_work_on_it_was_waited_for(gpu):
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
    ("touch", "told"),
    [
        (lambda window, named, _: window.array(named, (4,), np.float32).sum(), ""),
        (lambda window, _, other: window.array(other, (1,), np.uint8), "which it did not name"),
        (lambda window, named, _: window.array(named, (1,), np.uint8).fill(1), "read-only"),
    ],
)
def test_work_touches_what_it_named(touch, told, gpu):
    named, other, stream = gpu.device(), gpu.device(), gpu.stream()
    with pytest.raises(Fault, match="no memory of 17 bytes"):
        gpu.fake.enqueue(stream, touch, reads=[(named, 17)])
    gpu.fake.enqueue(stream, lambda window: touch(window, named, other), reads=[(named, 16)])
    code = gpu.fake.module.cuStreamSynchronize(stream)[0]
    assert bool(code) == bool(told)
    assert told in "".join(gpu.fake.take_faults())


# Order.


def test_nothing_is_done_before_somebody_waits(gpu):
    device, host, stream = gpu.device(), gpu.host(), gpu.stream()
    data, event = gpu.fake.memory.whose(host).data, gpu.event()
    gpu.fill(stream, device, 1)
    gpu("MemcpyDtoHAsync", host, device, 16, stream)
    gpu("EventRecord", event, stream)
    gpu.fill(stream, device, 2)
    assert set(data.tolist()) == {UNSET}
    gpu.refuses("NOT_READY", "EventQuery", event)
    gpu("EventSynchronize", event)
    assert set(data.tolist()) == {1}
    gpu("EventQuery", event)
    assert gpu.at(device) == {1}  # what comes after the event is not done yet
    gpu("CtxSynchronize")
    assert gpu.at(device) == {2}


def test_asking_again_and_again_gets_there(gpu):
    stream, event, device = gpu.stream(), gpu.event(), gpu.device()
    for _ in range(3):
        gpu.fill(stream, device, 1)
    gpu("EventRecord", event, stream)
    answers = [gpu.fake.module.cuEventQuery(event)[0].name for _ in range(6)]
    assert answers[0] == "CUDA_ERROR_NOT_READY"
    assert answers[-1] == "CUDA_SUCCESS"


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize(
    ("first", "second"), [("write", "read"), ("read", "write"), ("write", "write"), ("read", "read")]
)
def test_two_streams_that_touch_the_same_bytes_need_an_order(first, second, waits, gpu):
    device, event, streams = gpu.device(), gpu.event(), [gpu.stream(), gpu.stream()]
    for what, stream in zip((first, second), streams, strict=True):
        if waits and stream is streams[1]:
            gpu("StreamWaitEvent", stream, event, 0)
        gpu.fake.enqueue(stream, lambda window: None, **{f"{what}s": [(device, 8)]})
        gpu.fake.enqueue(stream, lambda window: None, writes=[(device + (8 if stream is streams[0] else 12), 4)])
        gpu("EventRecord", event, stream)
    assert bool(gpu.fake.take_faults()) == (not waits and (first, second) != ("read", "read"))


def test_the_host_orders_too(gpu):
    device, first, second = gpu.device(), gpu.stream(), gpu.stream()
    for _ in range(40):  # more than is kept of what is long done
        gpu.fill(first, device, 1)
        gpu("StreamSynchronize", first)
        gpu.fill(second, device, 2)
        gpu("StreamSynchronize", second)
    assert not gpu.fake.take_faults()
    assert len(gpu.fake.memory.whose(device).history) < 20


def test_an_event_is_waited_for_as_it_was_recorded_last(gpu):
    device, event, first, second = gpu.device(), gpu.event(), gpu.stream(), gpu.stream()
    gpu("EventRecord", event, first)
    gpu("StreamWaitEvent", second, event, 0)
    gpu.fill(first, device, 1)
    gpu("EventRecord", event, first)  # "not affected by later calls"
    gpu.fill(second, device, 2)
    assert "race" in gpu.fake.take_faults()[0]


# Captures.


def test_a_capture_does_nothing_and_its_graph_all(gpu):
    device, stream = gpu.device(), gpu.stream()
    gpu.capture(stream)
    gpu.fill(stream, device, 1)
    graph = gpu.graph(stream)
    gpu("StreamSynchronize", stream)
    assert gpu.at(device) == {UNSET}
    for value in (2, 3):
        gpu.fill(stream, device, value)
        gpu("GraphLaunch", graph, stream)
        gpu("StreamSynchronize", stream)
        assert gpu.at(device) == {1}


def test_a_graph_works_where_it_was_captured(gpu):
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
def test_what_spoils_a_capture(function, code, gpu):
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


def test_how_a_capture_ends(gpu):
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


def test_a_capture_whose_end_fails_is_at_its_end(gpu):
    stream = gpu.stream()
    gpu.capture(stream)
    gpu.fake.fails["cuStreamEndCapture"] = "STREAM_CAPTURE_INVALIDATED"
    gpu.refuses("STREAM_CAPTURE_INVALIDATED", "StreamEndCapture", stream)
    gpu("StreamSynchronize", stream)
    gpu.capture(stream)


def test_captures_and_threads(gpu):
    stream, said = gpu.stream(), []
    gpu.capture(stream)

    def other():
        gpu.fake.stack().append(gpu.fake.retain(0))
        said.append(gpu.device())  # thread-local: others may do as they like
        gpu.refuses("STREAM_CAPTURE_WRONG_THREAD", "StreamEndCapture", stream)
        said.append(True)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert len(said) == 2
    gpu.graph(stream)


def test_external_events(gpu):
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


# Contexts and handles.


def test_contexts(gpu):
    stream, event, device = gpu.stream(), gpu.event(), gpu.device()
    primary = gpu("CtxGetCurrent")
    gpu.fake.create_context()
    gpu.refuses("INVALID_HANDLE", "StreamSynchronize", stream, fault="another context")
    gpu.refuses("INVALID_HANDLE", "EventQuery", event, fault="another context")
    gpu("CtxPopCurrent")
    gpu("CtxSetCurrent", 0)
    for function, arguments in (("MemAlloc", [1]), ("StreamSynchronize", [stream]), ("CtxGetDevice", [])):
        gpu.refuses("INVALID_CONTEXT", function, *arguments)
    gpu("DevicePrimaryCtxRelease", 0)
    assert gpu.fake.take_faults() == ["the primary context goes with stream, event, device in it"]
    gpu.refuses("INVALID_CONTEXT", "DevicePrimaryCtxRelease", 0)
    gpu.refuses("INVALID_HANDLE", "CtxPushCurrent", primary, fault="no context that is there")
    gpu("DevicePrimaryCtxRetain", 0)
    assert device


def test_handles(gpu):
    stream, event = gpu.stream(), gpu.event()
    with pytest.raises(TypeError, match="wanted CUstream, got <CUevent"):
        gpu("StreamSynchronize", event)
    gpu("StreamDestroy", stream)
    gpu.refuses("INVALID_HANDLE", "StreamSynchronize", stream, fault="no stream that is there")
    with pytest.raises(AssertionError, match=r"left over: \{'event': 1, 'primary': 1\}"):
        gpu.fake.check()
    assert FakeCuda().module.cuDeviceGet(0)[0].name == "CUDA_ERROR_NOT_INITIALIZED"


# Names.


@pytest.mark.parametrize("version", VERSIONS)
def test_cuda_has_no_name_that_cuda_bindings_have_not(version):
    real, fake = names_of(version), FakeCuda(version=version).module
    mine = {name: value for name, value in vars(fake).items() if not name.startswith("__")}
    functions = {name for name in mine if name.startswith("cu")}
    assert functions == {name for name in dir(Calls) if name.startswith("cu")}
    for name in functions:
        assert list(inspect.signature(mine.pop(name)).parameters) == real["functions"][name], name
    assert mine.keys() - real["enums"].keys() <= set(real["others"])
    assert {member.name: member.value for member in fake.CUresult} == real["enums"]["CUresult"]


def test_pycuda_has_no_name_that_pycuda_has_not():
    real, fake = names_of("pycuda"), FakePycuda(FakeCuda()).module
    mine = {name: value for name, value in vars(fake).items() if not name.startswith("__")}
    for name in real["errors"]:
        assert issubclass(mine.pop(name, fake.Error), fake.Error)
    for name in [name for name, value in mine.items() if not isinstance(value, type)]:
        mine_to_name = inspect.signature(mine.pop(name)).parameters.values()
        named = [each.name for each in mine_to_name if each.kind is not each.POSITIONAL_ONLY]
        assert named == real["functions"][name], name
    assert len(mine) == 9
    inherited = {"PagelockedHostAllocation": "HostPointer"}
    for name, kind in mine.items():
        members = {each for each in dir(kind) if not each.startswith("_")} - set(dir(int)) - {"thread"}
        assert members <= {*real["classes"][name], *real["classes"].get(inherited.get(name), ())} | {"free"}, name
