"""That the fake GPUs are strict: about what was waited for, and about contexts and handles."""

import pytest

from tests.fakes.cuda import FakeCuda
from tests.fakes.cuda_memory import UNSET


def test_fake_cuda_work_runs_at_the_wait(gpu):
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


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize(
    ("first", "second"), [("write", "read"), ("read", "write"), ("write", "write"), ("read", "read")]
)
def test_fake_cuda_race_between_streams(first, second, waits, gpu):
    device, event, streams = gpu.device(), gpu.event(), [gpu.stream(), gpu.stream()]
    for what, stream in zip((first, second), streams, strict=True):
        if waits and stream is streams[1]:
            gpu("StreamWaitEvent", stream, event, 0)
        gpu.fake.enqueue(stream, lambda window: None, **{f"{what}s": [(device, 8)]})
        gpu.fake.enqueue(stream, lambda window: None, writes=[(device + (8 if stream is streams[0] else 12), 4)])
        gpu("EventRecord", event, stream)
    assert bool(gpu.fake.take_faults()) == (not waits and (first, second) != ("read", "read"))


def test_fake_cuda_host_wait_orders_streams(gpu):
    device, first, second = gpu.device(), gpu.stream(), gpu.stream()
    for _ in range(40):  # more than is kept of what is long done
        gpu.fill(first, device, 1)
        gpu("StreamSynchronize", first)
        gpu.fill(second, device, 2)
        gpu("StreamSynchronize", second)
    assert not gpu.fake.take_faults()
    assert len(gpu.fake.memory.whose(device).history) < 20


def test_fake_cuda_wait_is_for_last_record(gpu):
    device, event, first, second = gpu.device(), gpu.event(), gpu.stream(), gpu.stream()
    gpu("EventRecord", event, first)
    gpu("StreamWaitEvent", second, event, 0)
    gpu.fill(first, device, 1)
    gpu("EventRecord", event, first)  # "not affected by later calls"
    gpu.fill(second, device, 2)
    assert "race" in gpu.fake.take_faults()[0]


def test_fake_cuda_contexts(gpu):
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


def test_fake_cuda_handles(gpu):
    stream, event = gpu.stream(), gpu.event()
    with pytest.raises(TypeError, match="wanted CUstream, got <CUevent"):
        gpu("StreamSynchronize", event)
    gpu("StreamDestroy", stream)
    gpu.refuses("INVALID_HANDLE", "StreamSynchronize", stream, fault="no stream that is there")
    with pytest.raises(AssertionError, match=r"left over: \{'event': 1, 'primary': 1\}"):
        gpu.fake.check()
    assert FakeCuda().module.cuDeviceGet(0)[0].name == "CUDA_ERROR_NOT_INITIALIZED"
