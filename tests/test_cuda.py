"""The GPU through CUDA's driver, on made-up GPUs that are strict: tests/fake_cuda.py."""

import gc
import threading

import numpy as np
import pytest

from nanoseg.backends.cuda import open_gpu
from nanoseg.errors import EngineError
from tests import cuda_laws
from tests.cuda_laws import Stranger, fetch, send
from tests.fake_cuda import ORIN, FakeCuda, FakeDevice


@pytest.fixture(params=["12.9", "13"])
def fake(request, monkeypatch):
    """A machine with one GPU and cuda-bindings; at the end nothing was misused and nothing is left."""
    fake = FakeCuda(version=request.param).install(monkeypatch)
    yield fake
    if fake.alive:  # a test that failed, or was to fail, still holds something in its traceback
        gc.collect()
    fake.check()


@pytest.mark.parametrize("name", cuda_laws.ALL)
def test_laws(name, fake):
    with open_gpu() as gpu:
        assert gpu.graphs
        cuda_laws.ALL[name](gpu)
    assert not fake.stack()


@pytest.mark.parametrize(
    ("device", "name", "integrated"), [(ORIN, "Orin 8GB", True), (FakeDevice(), "NVIDIA GeForce RTX 4090", False)]
)
def test_what_a_gpu_tells_of_itself(device, name, integrated, monkeypatch):
    FakeCuda(device).install(monkeypatch)
    with open_gpu() as gpu:
        assert (gpu.name, gpu.integrated, gpu.provider) == (name, integrated, "cuda-bindings")
        assert (gpu.compute_capability, gpu.memory_bytes) == (device.compute_capability, device.memory_bytes)
        before = gpu.free_bytes()
        with gpu.device(1000):
            assert gpu.free_bytes() == before - 1000


def test_a_result_is_not_there_before_the_wait(fake):
    with open_gpu() as gpu, gpu.stream() as stream, gpu.stream() as other:
        block, _pinned = send(gpu, np.full(4, 3, np.int32), stream)
        assert fetch(gpu, block, (4,), np.int32, other).tolist() != [3] * 4  # no event between the streams
        assert "race" in fake.take_faults()[0]
        stream.synchronize()
        assert fetch(gpu, block, (4,), np.int32, other).tolist() == [3] * 4


# Contexts.


def test_a_primary_context_that_is_current_is_shared(fake):
    """As torch and cupy leave it."""
    fake.module.cuInit(0)
    theirs = fake.module.cuDevicePrimaryCtxRetain(0)[1]
    fake.module.cuCtxSetCurrent(theirs)
    with open_gpu() as gpu:
        assert fake.stack() == [int(theirs)] * 2
        fake.module.cuDevicePrimaryCtxRelease(0)  # they go first
        cuda_laws.ALL["what_goes_in_comes_out"](gpu)
    assert fake.stack() == [int(theirs)]  # theirs to take away


@pytest.mark.parametrize("primary_too", [False, True])
def test_a_context_of_another_library_is_used_and_left_alone(primary_too, fake):
    if primary_too:
        fake.module.cuInit(0)
        fake.module.cuDevicePrimaryCtxRetain(0)
    theirs = fake.create_context()
    with open_gpu() as gpu:
        block = gpu.device(4)
        assert fake.memory.whose(block.address).context == theirs
        assert fake.retained[0] == primary_too
    assert fake.stack() == [theirs]
    assert fake.retained[0] == primary_too
    if primary_too:
        fake.module.cuDevicePrimaryCtxRelease(0)


def test_the_device_of_the_current_context_is_the_one(monkeypatch):
    fake = FakeCuda(FakeDevice(), ORIN).install(monkeypatch)
    fake.create_context(device=1)
    with open_gpu() as gpu:
        assert gpu.name == "Orin 8GB"
        here, there = gpu.device(4), fake.create_context(device=0)
        address = int(fake.module.cuMemAlloc(4)[1])
        fake.module.cuCtxPopCurrent()
        gpu.wrap(Stranger(here.address, (4,), np.uint8))
        with pytest.raises(EngineError, match="does not lie in the memory of Orin 8GB"):
            gpu.wrap(Stranger(address, (4,), np.uint8))
        fake.destroy_context(there)


def test_a_context_that_is_no_more_is_not_used(fake):
    gone = fake.create_context()
    fake.destroy_context(gone)
    with open_gpu() as gpu:
        cuda_laws.ALL["events"](gpu)
    assert fake.stack() == [gone]


@pytest.mark.parametrize("first", [0, 1])
def test_two_at_once_close_in_any_order(first, fake):
    gpus = [open_gpu(), open_gpu()]
    gpus.pop(first).close()
    assert fake.retained[0] == 1
    cuda_laws.ALL["what_goes_in_comes_out"](gpus[0])
    gpus[0].close()
    assert not fake.stack()


def test_open_again_after_the_end(fake):
    for _ in range(3):
        with open_gpu() as gpu:
            cuda_laws.ALL["what_goes_in_comes_out"](gpu)


def test_close_in_another_thread(fake):
    gpu = open_gpu()
    gpu.host((4,), np.int32), gpu.device(4)
    thread = threading.Thread(target=gpu.close)
    thread.start()
    thread.join()
    assert not fake.alive
    with open_gpu() as again:  # what the first left on this thread's stack is no context any more
        cuda_laws.ALL["events"](again)


def test_close_in_a_thread_that_had_the_context_before(fake):
    stacks = []

    def close(gpu, context):
        fake.stack().append(context)  # as another library left it there
        gpu.close()
        stacks.append(list(fake.stack()))

    gpu = open_gpu()
    context = fake.retain(0)
    thread = threading.Thread(target=close, args=(gpu, context))
    thread.start()
    thread.join()
    assert stacks == [[context]]
    fake.release(0)


def test_a_thread_without_the_context_is_told_what_to_do(fake):
    said = []

    def work(gpu, stream, block):
        with pytest.raises(EngineError) as told:
            gpu.copy(block.view((1,), np.int8), block.view((1,), np.int8, 1), stream)
        said.append(str(told.value))

    with open_gpu() as gpu:
        thread = threading.Thread(target=work, args=(gpu, gpu.stream(), gpu.device(4)))
        thread.start()
        thread.join()
    fake.take_faults()
    assert "CUDA_ERROR_INVALID_CONTEXT: no CUDA context is current in this thread: call make_current()" in said[0]


def test_a_view_keeps_the_context_until_it_goes(fake):
    gpu = open_gpu()
    array, _stream = gpu.host((4,), np.int32).array, gpu.stream()
    gpu.device(4)
    gpu.close()
    assert fake.alive == {"pinned": 1, "primary": 1}
    array[...] = 1
    del array
    assert not fake.alive


def test_what_is_left_open_is_closed_with_the_gpu(fake):
    with open_gpu() as gpu:
        stream, event, host, block = gpu.stream(), gpu.event(), gpu.host((4,), np.int32), gpu.device(16)
        with stream.capture() as captured:
            gpu.copy(block, host, stream)
        graph = captured.graph
    assert not fake.alive
    for use in (
        stream.synchronize,
        event.done,
        lambda: host.address,
        lambda: block.address,
        lambda: graph.launch(stream),
    ):
        with pytest.raises(EngineError, match="it is closed"):
            use()


def test_a_gpu_that_is_forgotten(fake):
    gpu = open_gpu()
    stream = gpu.stream()
    _block, _pinned = send(gpu, np.zeros(4), stream)
    stream.synchronize()
    del gpu, stream, _block, _pinned
    gc.collect()
    assert not fake.alive
    assert not fake.stack()


def test_nothing_is_made_twice(fake):
    with open_gpu() as gpu, gpu.stream() as ours, gpu.stream() as theirs:
        block, pinned = send(gpu, np.zeros(4, np.int8), theirs)
        for _ in range(100):
            gpu.wrap(Stranger(block.address, (4,), np.int8, stream=theirs.handle), ours)
            gpu.copy(pinned, block, ours)
            ours.synchronize()
        assert fake.allocations == {"context": 1, "stream": 2, "event": 1, "device": 1, "pinned": 1}


def test_one_gpu_is_closed_while_another_thread_captures_on_it_through_another(fake):
    with open_gpu() as gpu:
        stream = gpu.stream()
        block, pinned = send(gpu, np.arange(4, dtype=np.int8), stream)
        stream.synchronize()
        other = open_gpu()
        theirs = other.stream()
        held = send(other, np.ones(4, np.int8), theirs)
        with stream.capture() as captured:
            gpu.copy(block, pinned, stream)
            thread = threading.Thread(target=other.close)
            thread.start()
            thread.join()
        pinned.array[...] = 7
        captured.graph.launch(stream)
        assert fetch(gpu, block, (4,), np.int8, stream).tolist() == [7] * 4
        del held


# Errors.


@pytest.mark.parametrize(
    "function", ["cuMemAlloc", "cuMemHostAlloc", "cuStreamCreate", "cuEventCreate", "cuMemGetInfo"]
)
def test_every_answer_is_checked_and_named(function, fake):
    with open_gpu() as gpu:
        make = {
            "cuMemAlloc": lambda: gpu.device(4),
            "cuMemHostAlloc": lambda: gpu.host((4,), np.int8),
            "cuStreamCreate": gpu.stream,
            "cuEventCreate": gpu.event,
            "cuMemGetInfo": gpu.free_bytes,
        }[function]
        fake.fails[function] = "NOT_PERMITTED"
        with pytest.raises(EngineError, match=f"^{function}: CUDA_ERROR_NOT_PERMITTED$"):
            make()
        fake.fails.clear()
        make()


def test_too_much_pinned_memory(fake):
    with open_gpu() as gpu:
        fake.fails["cuMemHostAlloc"] = "OUT_OF_MEMORY"
        with pytest.raises(
            EngineError, match=r"wanted 12\.6 MB of pinned memory, free are 25\.8 GB of 25\.8 GB; close"
        ):
            gpu.host((12_600_000,), np.uint8)


def test_memory_that_cannot_be_mapped_is_given_back(fake):
    with open_gpu() as gpu:
        fake.fails["cuMemHostGetDevicePointer"] = "NOT_SUPPORTED"
        with pytest.raises(EngineError, match="cuMemHostGetDevicePointer: CUDA_ERROR_NOT_SUPPORTED"):
            gpu.host((4,), np.int8, mapped=True)
        gc.collect()
        assert "pinned" not in fake.alive


def test_work_that_goes_wrong_is_told_once_and_all_is_closed(monkeypatch):
    fake = FakeCuda().install(monkeypatch)

    def breaks(window):
        raise ValueError("a kernel that fails")

    def use():
        with open_gpu() as gpu:
            stream, _host, _block = gpu.stream(), gpu.host((4,), np.int8), gpu.device(4)
            fake.enqueue(stream.handle, breaks)
            stream.synchronize()

    with pytest.raises(EngineError, match=r"^cuStreamSynchronize: CUDA_ERROR_LAUNCH_FAILED: .*start it again$"):
        use()
    assert "a kernel that fails" in fake.take_faults()[0]


def test_work_that_nobody_waited_for_is_told_at_the_end(monkeypatch):
    fake = FakeCuda().install(monkeypatch)
    gpu = open_gpu()
    stream = gpu.stream()
    fake.enqueue(stream.handle, lambda window: 1 / 0)
    with pytest.raises(EngineError, match="cuStreamSynchronize: CUDA_ERROR_LAUNCH_FAILED"):
        gpu.close()
    gpu.close()


BROKEN = {"shape": (2, 3), "typestr": "<f4", "data": (4096, False), "version": 3}


@pytest.mark.parametrize(
    ("told", "match"),
    [
        (None, "wanted an array on the GPU, with __cuda_array_interface__; this has none"),
        ({**BROKEN, "strides": (4, 8)}, r"wanted a C-contiguous array, got strides \(4, 8\) for float32 \(2, 3\)"),
        ({**BROKEN, "strides": (24, 4)}, r"wanted a C-contiguous array, got strides \(24, 4\)"),
        ({**BROKEN, "mask": object()}, "wanted a plain array, got a masked one"),
        ({**BROKEN, "shape": (0, 3)}, "it is empty"),
        ({**BROKEN, "data": (0, False)}, "it is empty"),
        ({**BROKEN, "stream": 0}, "its stream is 0, which the interface forbids"),
        ({**BROKEN, "typestr": "what"}, "its __cuda_array_interface__ is broken"),
        ({"shape": (2, 3)}, "its __cuda_array_interface__ is broken: KeyError"),
        (
            RuntimeError("Can't get it on\nVariable that requires grad"),
            "does not tell where it lies: Can't get it on Var",
        ),
    ],
)
def test_arrays_that_cannot_be_taken(told, match, fake):
    class Frame:
        @property
        def __cuda_array_interface__(self):
            if isinstance(told, Exception):
                raise told
            if told is None:
                raise AttributeError
            return told

    with open_gpu() as gpu, pytest.raises(EngineError, match=f"^Frame: .*{match}") as said:
        gpu.wrap(Frame())
    assert "\n" not in str(said.value)


@pytest.mark.parametrize("strides", [None, (12, 4), (99, 4)])
def test_strides_that_are_contiguous(strides, fake):
    rows = 1 if strides == (99, 4) else 2  # the stride of a side of one says nothing
    with open_gpu() as gpu, gpu.device(24) as block:
        seen = gpu.wrap(Stranger(block.address, (rows, 3), np.float32, strides=strides))
        assert seen.nbytes == rows * 12


@pytest.mark.parametrize(("version", "waits"), [(2, True), (3, False)])
def test_before_version_3_the_default_stream_is_waited_for(version, waits, fake):
    with open_gpu() as gpu, gpu.device(24) as block, gpu.stream() as stream:
        fake.calls.clear()
        gpu.wrap(Stranger(block.address, (2, 3), np.float32, version=version), stream)
        assert fake.calls["cuStreamWaitEvent"] == waits
