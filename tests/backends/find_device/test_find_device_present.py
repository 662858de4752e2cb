"""Which GPU and TensorRT a machine has, with stand-ins for both libraries."""

import ctypes
import importlib
import sys

import pytest

from nanoseg.backends import find_device as device
from nanoseg.engines import Device
from nanoseg.engines.device import kind_of
from tests.doctor.test_probe import Driver as Libcuda
from tests.fakes.devices import ADA, GIB, NO_GPU, ORIN, Driver


@pytest.mark.parametrize(
    ("tensorrts", "driver", "wanted"),
    [
        ({"tensorrt": "10.3.0"}, Driver(ORIN), Device("Orin 8GB", (8, 7), "10.3.0", "tensorrt")),
        ({"tensorrt_rtx": "1.7.1.27"}, Driver(ADA), Device(ADA[0], (8, 9), "1.7.1.27", "tensorrt-rtx")),
        ({"tensorrt_lean": "10.13.0"}, Driver(ADA), Device(ADA[0], (8, 9), "10.13.0", "tensorrt-lean")),
        (
            {"tensorrt_lean": "10.13.0", "tensorrt_rtx": "1.7.1", "tensorrt": "10.3.0"},
            Driver(ADA),
            Device(ADA[0], (8, 9), "10.3.0", "tensorrt"),
        ),
        # Broken, as the Python part alone is.
        (
            {"tensorrt": ImportError("libnvinfer.so.10: no such file"), "tensorrt_rtx": "1.7.1"},
            Driver(ADA),
            Device(ADA[0], (8, 9), "1.7.1", "tensorrt-rtx"),
        ),
        # A context that is current says which.
        ({"tensorrt": "10.3.0"}, Driver(ADA, ORIN, current=1), Device("Orin 8GB", (8, 7), "10.3.0", "tensorrt")),
    ],
)
def test_find_device_present(tensorrts, driver, wanted, machine):
    machine(tensorrts, driver)
    assert device.find_device() == (wanted, "")


@pytest.mark.parametrize(
    ("got", "size"),
    [
        (int(3.3 * GIB), 4),
        (7_693_115_392, 8),
        (8 * GIB, 8),
        (8 * GIB + 1, 16),
        (16_136_011_776, 16),
        (int(29.9 * GIB), 32),
        (65_893_269_504, 64),
        (int(122.8 * GIB), 128),
        (GIB // 2, 1),
    ],
)
def test_device_board_name_has_memory(got, size, machine):
    machine({"tensorrt": "10.3.0"}, Driver(("Orin", (8, 7), True, got)))
    assert device.find_device()[0].gpu == f"Orin {size}GB"


def test_find_device_with_pycuda_alone(machine, monkeypatch):
    machine({"tensorrt": "10.3.0", "pycuda": "2026.1"}, ModuleNotFoundError("No module named 'cuda'", name="cuda"))
    assert device.find_device() == (Device("Orin 8GB", (8, 7), "10.3.0", "tensorrt"), "")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Libcuda(starts=100))
    assert device.find_device() == (None, "no GPU that CUDA can use: cuInit returns CUDA_ERROR_NO_DEVICE")


@pytest.mark.parametrize(
    ("driver", "wanted"),
    [
        (Driver(ORIN), (("Orin 8GB", (8, 7)), "", True)),
        (Driver(ADA, ORIN, current=1), (("Orin 8GB", (8, 7)), "", True)),
        (
            Driver(fails={"cuInit": NO_GPU}),
            (None, "no GPU that CUDA can use: cuInit returns CUDA_ERROR_NO_DEVICE", True),
        ),
        # Neither cuda-bindings nor pycuda is wanted to know the GPU.
        (ModuleNotFoundError("No module named 'cuda'", name="cuda"), (("Orin 8GB", (8, 7)), "", True)),
    ],
)
def test_find_gpu_loads_no_tensorrt(driver, wanted, machine):
    machine({"tensorrt": AssertionError("it is loaded")}, driver)
    assert device.find_gpu() == wanted


def test_find_device_on_this_machine():
    found, why = device.find_device()
    assert (found is None) == bool(why)
    assert "\n" not in why


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt_rtx", "tensorrt_lean"])
def test_find_device_real_imports(name, tmp_path, monkeypatch):
    """Real imports: a package that is there, a folder of its name that is none, and nothing."""
    for each in (library.module for library in device.LIBRARIES.values()):
        monkeypatch.setitem(sys.modules, each, None)  # so that what is imported here is gone afterwards
        monkeypatch.delitem(sys.modules, each)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert device.find_device() == (None, "no TensorRT on this machine")
    (tmp_path / name).mkdir()
    importlib.invalidate_caches()
    found, why = device.find_device()
    assert found is None
    assert why.startswith(f"{name} cannot be loaded: ")
    monkeypatch.delitem(sys.modules, name)
    (tmp_path / name / "__init__.py").write_text("__version__ = '1.2.3'\n")
    assert device._load_first(tuple(device.LIBRARIES)) == (kind_of(name), "1.2.3")
