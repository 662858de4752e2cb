"""CUDA's contexts: whose is used, who takes it away, and in which thread."""

import threading

import numpy as np
import pytest

from nanoseg.backends.cuda import open_gpu
from nanoseg.errors import EngineError
from tests.backends.cuda import laws
from tests.backends.cuda.arrays import Stranger
from tests.fakes.cuda import ORIN, FakeCuda, FakeDevice


def test_context_primary_is_shared(fake):
    """As torch and cupy leave it."""
    fake.module.cuInit(0)
    theirs = fake.module.cuDevicePrimaryCtxRetain(0)[1]
    fake.module.cuCtxSetCurrent(theirs)
    with open_gpu() as gpu:
        assert fake.stack() == [int(theirs)] * 2
        fake.module.cuDevicePrimaryCtxRelease(0)  # they go first
        laws.ALL["what_goes_in_comes_out"](gpu)
    assert fake.stack() == [int(theirs)]  # theirs to take away


@pytest.mark.parametrize("primary_too", [False, True])
def test_context_of_another_library_is_used(primary_too, fake):
    if primary_too:
        fake.module.cuInit(0)
        fake.module.cuDevicePrimaryCtxRetain(0)
    theirs = fake.create_context()
    with open_gpu() as gpu:
        block = gpu.device_buffer(4)
        assert fake.memory.whose(block.address).context == theirs
        assert fake.retained[0] == primary_too
    assert fake.stack() == [theirs]
    assert fake.retained[0] == primary_too
    if primary_too:
        fake.module.cuDevicePrimaryCtxRelease(0)


def test_context_current_selects_the_device(monkeypatch):
    fake = FakeCuda(FakeDevice(), ORIN).install(monkeypatch)
    fake.create_context(device=1)
    with open_gpu() as gpu:
        assert gpu.name == "Orin 8GB"
        here, there = gpu.device_buffer(4), fake.create_context(device=0)
        address = int(fake.module.cuMemAlloc(4)[1])
        fake.module.cuCtxPopCurrent()
        gpu.wrap(Stranger(here.address, (4,), np.uint8))
        with pytest.raises(EngineError, match="is not in the memory of Orin 8GB"):
            gpu.wrap(Stranger(address, (4,), np.uint8))
        fake.destroy_context(there)


def test_context_destroyed_is_not_used(fake):
    gone = fake.create_context()
    fake.destroy_context(gone)
    with open_gpu() as gpu:
        laws.ALL["events"](gpu)
    assert fake.stack() == [gone]


@pytest.mark.parametrize("first", [0, 1])
def test_gpu_two_close_in_any_order(first, fake):
    gpus = [open_gpu(), open_gpu()]
    gpus.pop(first).close()
    assert fake.retained[0] == 1
    laws.ALL["what_goes_in_comes_out"](gpus[0])
    gpus[0].close()
    assert not fake.stack()


def test_gpu_opens_again(fake):
    for _ in range(3):
        with open_gpu() as gpu:
            laws.ALL["what_goes_in_comes_out"](gpu)


def test_gpu_closes_in_another_thread(fake):
    gpu = open_gpu()
    gpu.host_buffer((4,), np.int32), gpu.device_buffer(4)
    thread = threading.Thread(target=gpu.close)
    thread.start()
    thread.join()
    assert not fake.alive
    with open_gpu() as again:  # what the first left on this thread's stack is no context any more
        laws.ALL["events"](again)


def test_gpu_closes_in_thread_with_own_context(fake):
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


def test_gpu_error_in_thread_without_context(fake):
    messages = []

    def work(gpu, stream, block):
        with pytest.raises(EngineError) as error:
            gpu.copy(block.view((1,), np.int8), block.view((1,), np.int8, 1), stream)
        messages.append(str(error.value))

    with open_gpu() as gpu:
        thread = threading.Thread(target=work, args=(gpu, gpu.stream(), gpu.device_buffer(4)))
        thread.start()
        thread.join()
    fake.take_faults()
    assert "CUDA_ERROR_INVALID_CONTEXT: no CUDA context is current in this thread: call make_current()" in messages[0]
