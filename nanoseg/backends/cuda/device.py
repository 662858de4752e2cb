"""What a CUDA device is, whoever asks the driver: cuda-bindings, or ctypes where they are not installed."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any, Protocol

from nanoseg.backends.cuda.calls import CudaError
from nanoseg.errors import EngineError

_DRIVERS = ("libcuda.so.1", "libcuda.so", "nvcuda.dll")
_ATTRIBUTES = {"INTEGRATED": 18, "COMPUTE_CAPABILITY_MAJOR": 75, "COMPUTE_CAPABILITY_MINOR": 76}  # CUdevice_attribute
_DEVICE_ORDINAL = 9  # CUpointer_attribute
_GIB = 1 << 30


class Asks(Protocol):
    """The three questions about a device; each raises CudaError."""

    def name(self, device: Any) -> str:
        """As CUDA calls it."""

    def memory_bytes(self, device: Any) -> int:
        """All of its memory."""

    def attribute(self, device: Any, name: str) -> int:
        """CU_DEVICE_ATTRIBUTE_`name`."""


@dataclass(frozen=True)
class DeviceFacts:
    """One CUDA device."""

    name: str  # as CUDA calls it: every Jetson Orin is "Orin"
    compute_capability: tuple[int, int]
    integrated: bool  # it shares the host's memory
    memory_bytes: int

    @property
    def board(self) -> str:
        """The name that tells boards apart, as engines are kept under: "Orin 8GB".

        The memory tells Jetsons apart, and unlike the count of multiprocessors it is the same in every power mode. The
        system keeps a part of it for itself, so it is rounded up to a power of two.
        """
        if not self.integrated:
            return self.name
        return f"{self.name} {1 << ((self.memory_bytes - 1) // _GIB).bit_length()}GB"


def describe(asks: Asks, device: Any) -> DeviceFacts:
    """Ask for all facts of one device; raises CudaError."""
    name = asks.name(device)
    major, minor, integrated = (
        asks.attribute(device, name) for name in ("COMPUTE_CAPABILITY_MAJOR", "COMPUTE_CAPABILITY_MINOR", "INTEGRATED")
    )
    return DeviceFacts(name, (major, minor), bool(integrated), asks.memory_bytes(device))


class Libcuda:
    """The driver's own library, by ctypes. Raises EngineError where there is none."""

    def __init__(self) -> None:
        for name in _DRIVERS:
            try:
                self._lib: Any = ctypes.CDLL(name)
                return
            except OSError:
                continue
        raise EngineError("no NVIDIA driver: libcuda cannot be loaded")

    def __call__(self, function: str, *arguments: Any) -> None:
        """Call one function of it; raises CudaError."""
        code = getattr(self._lib, function)(*arguments)
        if code:
            raise CudaError(function, self._name_of(code))

    def version(self) -> str | None:
        """The CUDA version of the driver: "12.6"; it needs no GPU."""
        told = ctypes.c_int()
        if self._lib.cuDriverGetVersion(ctypes.byref(told)):
            return None
        return f"{told.value // 1000}.{told.value % 1000 // 10}"

    def count(self) -> int:
        """How many devices there are; starts CUDA."""
        self("cuInit", 0)
        told = ctypes.c_int()
        self("cuDeviceGetCount", ctypes.byref(told))
        return told.value

    def device(self, index: int) -> ctypes.c_int:
        """The handle of one device."""
        device = ctypes.c_int()
        self("cuDeviceGet", ctypes.byref(device), index)
        return device

    def name(self, device: Any) -> str:
        """As CUDA calls the device."""
        text = ctypes.create_string_buffer(256)
        self("cuDeviceGetName", text, len(text), device)
        return text.value.decode("utf-8", "replace")

    def memory_bytes(self, device: Any) -> int:
        """All memory of the device."""
        told = ctypes.c_size_t()
        self("cuDeviceTotalMem_v2", ctypes.byref(told), device)
        return told.value

    def attribute(self, device: Any, name: str) -> int:
        """CU_DEVICE_ATTRIBUTE_`name` of the device."""
        told = ctypes.c_int()
        self("cuDeviceGetAttribute", ctypes.byref(told), _ATTRIBUTES[name], device)
        return told.value

    def current(self) -> int:
        """The context that is current in this thread; 0 for none."""
        told = ctypes.c_void_p()
        self("cuCtxGetCurrent", ctypes.byref(told))
        return told.value or 0

    def make_current(self, context: int) -> None:
        """Make the context current in this thread, in the place of the one that is; 0 for none."""
        self("cuCtxSetCurrent", ctypes.c_void_p(context))

    def pop(self) -> None:
        """Take the context that is current in this thread off its stack."""
        self("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))

    def can_read(self, address: int) -> bool:
        """Whether the address is one of the device whose context is current."""
        device, ordinal = ctypes.c_int(), ctypes.c_int()
        self("cuCtxGetDevice", ctypes.byref(device))
        code = self._lib.cuPointerGetAttribute(ctypes.byref(ordinal), _DEVICE_ORDINAL, ctypes.c_ulonglong(address))
        return code == 0 and ordinal.value == device.value

    def _name_of(self, code: int) -> str:
        text = ctypes.c_char_p()
        if self._lib.cuGetErrorName(code, ctypes.byref(text)) == 0 and text.value:
            return text.value.decode("ascii", "replace")
        return f"CUDA error {code}"
