"""A machine with fake libraries."""

import ctypes
import sys
import types

import pytest

from nanoseg.backends import find_device as device
from nanoseg.backends.cuda import calls as cuda_calls
from tests.fakes.devices import Driver
from tests.fakes.libcuda import Driver as Libcuda


@pytest.fixture
def machine(monkeypatch):
    """A machine with these TensorRTs, {module: version or what its import raises}, and this CUDA driver."""

    def make(tensorrts, driver):
        def find_spec(name):
            return name if name in tensorrts else None

        def import_module(name):
            found = driver if name == "cuda.bindings.driver" else tensorrts[name]
            if isinstance(found, Exception):
                raise found
            return found if isinstance(found, Driver) else types.SimpleNamespace(__version__=found)

        for library in device.LIBRARIES.values():
            monkeypatch.delitem(sys.modules, library.module, raising=False)
        monkeypatch.setattr(device, "find_spec", find_spec)
        monkeypatch.setattr(ctypes, "CDLL", lambda name: Libcuda())
        for module in (device, cuda_calls):
            monkeypatch.setattr(module, "importlib", types.SimpleNamespace(import_module=import_module))

    return make
