"""A fake GPU, and an engine on one."""

import pytest

from tests.fakes.cuda import FakeCuda
from tests.fakes.laws.cuda_machine import Machine


@pytest.fixture
def gpu():
    return Machine()


@pytest.fixture
def bench(monkeypatch):
    from tests.fakes.laws.tensorrt_bench import (
        Bench,  # which needs onnx and ONNX Runtime; the fake GPU needs neither
    )

    cuda = FakeCuda().install(monkeypatch)
    bench = Bench(cuda)
    yield bench
    bench.context = bench.engine = None
    bench.gpu.close()
    assert not cuda.alive


@pytest.fixture
def clean(bench):
    """Where nothing may have gone wrong."""
    yield bench
    bench.gpu.synchronize()
    assert bench.cuda.take_faults() == []
