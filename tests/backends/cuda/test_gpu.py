"""The GPU through CUDA's driver, on fake GPUs: the laws, and what is open for how long."""

import gc
import threading

import numpy as np
import pytest

from nanoseg.backends.cuda import open_gpu
from nanoseg.errors import EngineError
from tests.backends.cuda import laws
from tests.backends.cuda.arrays import Stranger, fetch, send
from tests.fakes.cuda import ORIN, FakeCuda, FakeDevice


@pytest.mark.parametrize("name", laws.ALL)
def test_gpu_laws(name, fake):
    with open_gpu() as gpu:
        assert gpu.supports_graphs
        laws.ALL[name](gpu)
    assert not fake.stack()


@pytest.mark.parametrize(
    ("device", "name", "integrated"), [(ORIN, "Orin 8GB", True), (FakeDevice(), "NVIDIA GeForce RTX 4090", False)]
)
def test_gpu_properties(device, name, integrated, monkeypatch):
    FakeCuda(device).install(monkeypatch)
    with open_gpu() as gpu:
        assert (gpu.name, gpu.integrated, gpu.provider) == (name, integrated, "cuda-bindings")
        assert (gpu.compute_capability, gpu.memory_bytes) == (device.compute_capability, device.memory_bytes)
        before = gpu.free_bytes()
        with gpu.device_buffer(1000):
            assert gpu.free_bytes() == before - 1000


def test_gpu_results_need_a_wait(fake):
    with open_gpu() as gpu, gpu.stream() as stream, gpu.stream() as other:
        block, _pinned = send(gpu, np.full(4, 3, np.int32), stream)
        assert fetch(gpu, block, (4,), np.int32, other).tolist() != [3] * 4  # no event between the streams
        assert "race" in fake.take_faults()[0]
        stream.synchronize()
        assert fetch(gpu, block, (4,), np.int32, other).tolist() == [3] * 4


def test_host_buffer_view_keeps_the_context(fake):
    gpu = open_gpu()
    array, _stream = gpu.host_buffer((4,), np.int32).array, gpu.stream()
    gpu.device_buffer(4)
    gpu.close()
    assert fake.alive == {"pinned": 1, "primary": 1}
    array[...] = 1
    del array
    assert not fake.alive


def test_gpu_close_closes_everything(fake):
    with open_gpu() as gpu:
        stream, event, host, block = gpu.stream(), gpu.event(), gpu.host_buffer((4,), np.int32), gpu.device_buffer(16)
        with stream.capture() as captured:
            gpu.copy(block, host, stream)
        graph = captured.graph
    assert not fake.alive
    for use in (
        stream.synchronize,
        event.query,
        lambda: host.address,
        lambda: block.address,
        lambda: graph.launch(stream),
    ):
        with pytest.raises(EngineError, match="it is closed"):
            use()


def test_gpu_garbage_collected(fake):
    gpu = open_gpu()
    stream = gpu.stream()
    _block, _pinned = send(gpu, np.zeros(4), stream)
    stream.synchronize()
    del gpu, stream, _block, _pinned
    gc.collect()
    assert not fake.alive
    assert not fake.stack()


def test_gpu_wrap_allocates_nothing(fake):
    with open_gpu() as gpu, gpu.stream() as ours, gpu.stream() as theirs:
        block, pinned = send(gpu, np.zeros(4, np.int8), theirs)
        for _ in range(100):
            gpu.wrap(Stranger(block.address, (4,), np.int8, stream=theirs.handle), ours)
            gpu.copy(pinned, block, ours)
            ours.synchronize()
        assert fake.allocations == {"context": 1, "stream": 2, "event": 1, "device": 1, "pinned": 1}


def test_gpu_closes_during_capture_of_another(fake):
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
