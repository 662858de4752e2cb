"""TensorRT made up, and none at all."""

import sys

import pytest

from nanoseg.engines.device import LIBRARIES
from tests.fakes.tensorrt import fake_tensorrt
from tests.models.torch2trt.modules import PLAN, TENSORS


@pytest.fixture
def tensorrt(monkeypatch):
    """The fake library in place of the real ones."""
    module = fake_tensorrt({PLAN: TENSORS})
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    return module


@pytest.fixture
def no_tensorrt(monkeypatch):
    for library in LIBRARIES.values():
        monkeypatch.setitem(sys.modules, library.module, None)
