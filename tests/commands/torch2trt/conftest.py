"""TensorRT made up, and none at all."""

import sys

import pytest

from nanoseg.backends.tensorrt import plan as trt
from tests.commands.torch2trt.modules import PLAN, TENSORS
from tests.fakes.tensorrt import fake_tensorrt


@pytest.fixture
def tensorrt(monkeypatch):
    """The fake library in place of the real ones."""
    module = fake_tensorrt({PLAN: TENSORS})
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    return module


@pytest.fixture
def no_tensorrt(monkeypatch):
    for name in trt.LIBRARIES:
        monkeypatch.setitem(sys.modules, name, None)
