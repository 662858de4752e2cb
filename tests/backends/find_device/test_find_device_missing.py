"""Messages for a missing GPU, driver or library."""

import ctypes

import pytest

from nanoseg.backends import find_device as device
from tests.doctor.test_probe import Driver as Libcuda
from tests.fakes.devices import ADA, NO_GPU, ORIN, CUresult, Driver

UNKNOWN = "the GPU is not known, as cuda-bindings "


@pytest.mark.parametrize(
    ("tensorrts", "driver", "why"),
    [
        ({}, Driver(ADA), "no TensorRT on this machine"),
        (
            {"tensorrt": ImportError("libnvinfer.so.10:\nno such file"), "tensorrt_lean": RuntimeError()},
            Driver(ADA),
            "tensorrt cannot be loaded: libnvinfer.so.10: no such file; tensorrt_lean cannot be loaded: RuntimeError",
        ),
        (
            {"tensorrt": "10.3.0"},
            ModuleNotFoundError("No module named 'cuda'", name="cuda"),
            f'{UNKNOWN}is not installed: pip install "nanoseg[cuda12]" for CUDA 12, "nanoseg[cuda13]" for CUDA 13',
        ),
        (
            {"tensorrt": "10.3.0"},
            ModuleNotFoundError("No module named 'cuda.pathfinder'", name="cuda.pathfinder"),
            f"{UNKNOWN}cannot be loaded: No module named 'cuda.pathfinder'",
        ),
        ({"tensorrt": "10.3.0"}, ImportError("GLIBC_2.38"), f"{UNKNOWN}cannot be loaded: GLIBC_2.38"),
        (
            {"tensorrt": "10.3.0"},
            Driver(fails={"cuInit": NO_GPU}),
            "no GPU that CUDA can use: cuInit returns CUDA_ERROR_NO_DEVICE",
        ),
        *(
            (
                {"tensorrt": "10.3.0"},
                Driver(ORIN, fails={function: CUresult.CUDA_ERROR_SYSTEM_DRIVER_MISMATCH}),
                f"no GPU that CUDA can use: {function} returns CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
            )
            for function in ("cuDeviceGet", "cuDeviceGetName", "cuDeviceGetAttribute", "cuDeviceTotalMem")
        ),
    ],
)
def test_find_device_missing(tensorrts, driver, why, machine):
    machine(tensorrts, driver)
    assert device.find_device() == (None, why)


def test_find_device_bindings_without_driver(machine, monkeypatch):
    """What cuda-bindings 12.9 raises where there is no libcuda; 13's is a RuntimeError of its own."""
    driver = Driver(ADA)

    def fail(flags):
        raise RuntimeError("Failed to dlopen\nlibcuda.so.1")

    monkeypatch.setattr(driver, "cuInit", fail)
    machine({"tensorrt": "10.3.0"}, driver)
    why = "no CUDA driver on this machine: Failed to dlopen libcuda.so.1"
    assert device.find_device() == (None, why)


def test_find_device_names_driver_before_bindings(machine, monkeypatch):
    machine({"tensorrt": "10.3.0"}, ModuleNotFoundError("No module named 'cuda'", name="cuda"))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Libcuda(starts=100))
    assert device.find_device() == (None, "no GPU that CUDA can use: cuInit returns CUDA_ERROR_NO_DEVICE")

    def missing(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert device.find_device() == (None, "no NVIDIA driver: libcuda cannot be loaded")


def test_find_device_without_driver(machine, monkeypatch):
    def missing(name):
        raise OSError(f"{name}: cannot open shared object file")

    machine({}, ModuleNotFoundError("No module named 'cuda'", name="cuda"))
    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert device.find_gpu() == (None, "no NVIDIA driver: libcuda cannot be loaded", False)
