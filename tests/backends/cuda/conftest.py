"""A fake GPU that is strict: tests/fakes/cuda.py."""

import gc

import pytest

from tests.fakes.cuda import FakeCuda


@pytest.fixture(params=["12.9", "13"])
def fake(request, monkeypatch):
    """A machine with one GPU and cuda-bindings; at the end nothing was misused and nothing is left."""
    fake = FakeCuda(version=request.param).install(monkeypatch)
    yield fake
    if fake.alive:  # a test that failed, or was to fail, still holds something in its traceback
        gc.collect()
    fake.check()
