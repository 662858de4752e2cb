"""The laws of tests/backends/cuda/laws.py on a real GPU, with each provider that is installed: pytest -m gpu."""

import numpy as np
import pytest

from gpu_trial import torch_refusal
from nanoseg.backends.cuda import open_gpu
from nanoseg.backends.find_device import find_device
from nanoseg.errors import DependencyError, EngineError
from tests.backends.cuda import laws
from tests.backends.cuda.arrays import fetch, send

pytestmark = pytest.mark.gpu
PROVIDERS = ("cuda-bindings", "pycuda")


@pytest.fixture(params=PROVIDERS)
def gpu(request):
    try:
        gpu = open_gpu(request.param)
    except (DependencyError, EngineError) as error:
        pytest.skip(f"needs an NVIDIA GPU and {request.param}: {error}")
    with gpu:
        yield gpu


@pytest.mark.parametrize("name", laws.ALL)
def test_real_gpu_laws(name, gpu):
    if name in laws.GRAPHS and not gpu.supports_graphs:
        pytest.skip(f"{gpu.provider} captures no graphs")
    laws.ALL[name](gpu)


def test_real_gpu_name_is_that_of_engine_records(gpu):
    found, why = find_device()
    if found is None:
        pytest.skip(why)
    assert (gpu.name, gpu.compute_capability) == (found.gpu, found.compute_capability)


def test_real_gpu_memory_is_freed(gpu):
    size = 64 << 20
    with gpu.device_buffer(size):
        held = gpu.free_bytes()
    assert gpu.free_bytes() >= held + size // 2


def test_real_gpu_wraps_torch_tensors(gpu):
    if why := torch_refusal():
        pytest.skip(why)
    import torch

    stream = gpu.stream()
    for value in range(20):
        frame = torch.full((64, 64, 3), value, dtype=torch.uint8, device="cuda")
        seen = gpu.wrap(frame, stream)
        assert seen.address == frame.data_ptr()
        assert (fetch(gpu, seen, (64, 64, 3), np.uint8, stream) == value).all()
    block, _pinned = send(gpu, np.arange(6, dtype=np.float32), stream)
    stream.synchronize()
    theirs = torch.as_tensor(block.view((2, 3), np.float32), device="cuda")
    assert theirs.data_ptr() == block.address
    assert theirs.cpu().numpy().tolist() == [[0, 1, 2], [3, 4, 5]]
