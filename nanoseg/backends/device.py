"""Which GPU and which TensorRT this machine has."""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec
from typing import Any

from nanoseg.store.device import Device, Kind
from nanoseg.store.validity import NO_TENSORRT

LIBRARIES: tuple[Kind, ...] = ("tensorrt", "tensorrt_rtx", "tensorrt_lean")  # the first that can be loaded is used
_NAME_LENGTH = 256  # bytes, for cuDeviceGetName
_GIB = 1 << 30


class _MissingError(Exception):
    """What is not here; never leaves this module."""


def current_device() -> Device | None:
    """The GPU in use and the TensorRT that is installed; None where either is missing. Never raises for that."""
    return look_for_device()[0]


def look_for_device() -> tuple[Device | None, str]:
    """current_device(), and where that is None, why: in words that can follow "not valid here:"."""
    try:
        kind, version = _tensorrt()
        gpu, compute_capability = _gpu()
    except _MissingError as missing:
        return None, str(missing)
    return Device(gpu, compute_capability, version, kind), ""


def _tensorrt() -> tuple[Kind, str]:
    broken = []
    for name in LIBRARIES:
        try:
            if name not in sys.modules and find_spec(name) is None:
                continue
            return name, str(importlib.import_module(name).__version__)
        except Exception as error:  # a library of the system may be missing, and each release fails in its own way
            broken.append(f"{name} cannot be loaded: {_one_line(error)}")
    raise _MissingError("; ".join(broken) or NO_TENSORRT)


def _gpu() -> tuple[str, tuple[int, int]]:
    """Name and compute capability of the GPU that is current in this thread, else of the first."""
    driver = _driver()
    try:
        _call(driver, "cuInit", 0)
        code, device = driver.cuCtxGetDevice()
        if code != driver.CUresult.CUDA_SUCCESS:  # no context is current
            device = _call(driver, "cuDeviceGet", 0)
        return _name(driver, device), (
            _attribute(driver, device, "COMPUTE_CAPABILITY_MAJOR"),
            _attribute(driver, device, "COMPUTE_CAPABILITY_MINOR"),
        )
    except _MissingError:
        raise
    except Exception as error:  # without a driver, what is raised differs between versions
        raise _MissingError(f"no CUDA driver on this machine: {_one_line(error)}") from error


def _driver() -> Any:
    try:
        return importlib.import_module("cuda.bindings.driver")
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name in ("cuda", "cuda.bindings", "cuda.bindings.driver"):
            raise _MissingError(
                "the GPU is not known, as cuda-bindings is not installed: "
                "pip install cuda-bindings==12.* for CUDA 12, cuda-bindings==13.* for CUDA 13"
            ) from error
        raise _MissingError(f"the GPU is not known, as cuda-bindings cannot be loaded: {_one_line(error)}") from error


def _name(driver: Any, device: Any) -> str:
    text: bytes = _call(driver, "cuDeviceGetName", _NAME_LENGTH, device)
    # What lies behind the terminating zero is the binding's own filling.
    name = text.split(b"\0", 1)[0].decode(errors="replace").strip()
    if not _attribute(driver, device, "INTEGRATED"):
        return name
    # Every Jetson Orin calls itself "Orin"; the memory tells them apart, and unlike the count of multiprocessors it is
    # the same in every power mode. The system keeps a part of it for itself, so it is rounded up to a power of two.
    size: int = _call(driver, "cuDeviceTotalMem", device)
    return f"{name} {1 << ((size - 1) // _GIB).bit_length()}GB"


def _attribute(driver: Any, device: Any, name: str) -> int:
    attribute = getattr(driver.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
    return int(_call(driver, "cuDeviceGetAttribute", attribute, device))


def _call(driver: Any, function: str, *arguments: Any) -> Any:
    code, *values = getattr(driver, function)(*arguments)
    if code != driver.CUresult.CUDA_SUCCESS:
        raise _MissingError(f"no GPU that CUDA can use: {function} answers {getattr(code, 'name', code)}")
    return values[0] if values else None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
