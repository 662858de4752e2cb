"""Checked calls of CUDA's driver functions, through cuda-bindings and through ctypes where these are not installed."""

from __future__ import annotations

import ctypes
import importlib
from typing import Any

from nanoseg.backends.cuda.driver import PIP_LINE, CudaError
from nanoseg.errors import DependencyError, EngineError, one_line

_MODULE = "cuda.bindings.driver"
_NOT_FOUND = "FunctionNotFoundError"  # of cuda.bindings' own, where the driver lacks a function
_LIBRARIES = ("libcuda.so.1", "libcuda.so", "nvcuda.dll")
_ATTRIBUTES = {"INTEGRATED": 18, "COMPUTE_CAPABILITY_MAJOR": 75, "COMPUTE_CAPABILITY_MINOR": 76}  # CUdevice_attribute
_DEVICE_ORDINAL = 9  # CUpointer_attribute


class BindingsCalls:
    """The functions of cuda.bindings.driver, 12.9 or 13, without the error code in their results."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver
        self._success = driver.CUresult.CUDA_SUCCESS

    def __call__(self, function: str, *arguments: Any) -> Any:
        """Call a function; returns None, its value, or a tuple of its values. Raises CudaError."""
        try:
            result = getattr(self.driver, function)(*arguments)
        except ValueError as error:  # the enum of these bindings lacks the driver's error code
            raise CudaError(function, one_line(error), "newer than these cuda-bindings: install newer ones") from error
        except RuntimeError as error:
            if type(error).__name__ != _NOT_FOUND:
                raise
            raise CudaError(function, "not found", self._too_old()) from error
        code = result[0]
        if code is not self._success and code != self._success:
            raise CudaError(function, str(getattr(code, "name", code)))
        return None if len(result) == 1 else result[1] if len(result) == 2 else tuple(result[1:])

    def _too_old(self) -> str:
        _, version = self.driver.cuDriverGetVersion()
        cuda = f"{version // 1000}.{version % 1000 // 10}"
        return f"this machine's driver, for CUDA {cuda}, does not have it; install a newer driver"

    def initialize(self) -> None:
        """Initialize CUDA; raises EngineError without a driver, CudaError without a GPU."""
        try:
            self("cuInit", 0)
        except EngineError:
            raise
        except Exception as error:  # without a driver, what is raised differs between versions
            raise EngineError(f"no CUDA driver on this machine: {one_line(error)}") from error

    def device_in_use(self) -> Any:
        """Return the device whose context is current in this thread, else the first."""
        code, device = self.driver.cuCtxGetDevice()
        return device if code == self._success else self("cuDeviceGet", 0)

    def name(self, device: Any) -> str:
        """Return CUDA's name of the device."""
        text: bytes = self("cuDeviceGetName", 256, device)
        # Behind the terminating zero the binding leaves whatever its buffer held.
        return text.split(b"\0", 1)[0].decode(errors="replace").strip()

    def memory_bytes(self, device: Any) -> int:
        """Return the size of the device's memory."""
        return int(self("cuDeviceTotalMem", device))

    def attribute(self, device: Any, name: str) -> int:
        """Return the value of CU_DEVICE_ATTRIBUTE_`name`."""
        attribute = getattr(self.driver.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
        return int(self("cuDeviceGetAttribute", attribute, device))


def load_bindings() -> Any:
    """Import cuda.bindings.driver; raises DependencyError with the pip line, or the reason why it cannot be loaded."""
    try:
        return importlib.import_module(_MODULE)
    except Exception as error:  # a library that is broken raises what it likes
        if isinstance(error, ModuleNotFoundError) and error.name in ("cuda", "cuda.bindings", _MODULE):
            raise DependencyError(f"cuda-bindings is not installed: {PIP_LINE}") from error
        raise DependencyError(f"cuda-bindings cannot be loaded: {one_line(error)}") from error


class LibcudaCalls:
    """The functions of libcuda that nanoseg needs without cuda-bindings; raises EngineError without the library."""

    def __init__(self) -> None:
        for name in _LIBRARIES:
            try:
                self._lib: Any = ctypes.CDLL(name)
                return
            except OSError:
                continue
        raise EngineError("no NVIDIA driver: libcuda cannot be loaded")

    def __call__(self, function: str, *arguments: Any) -> None:
        """Call a function; raises CudaError."""
        code = getattr(self._lib, function)(*arguments)
        if code:
            raise CudaError(function, self._error_name(code))

    def version(self) -> str | None:
        """Return the CUDA version of the driver: "12.6"; needs no GPU."""
        version = ctypes.c_int()
        if self._lib.cuDriverGetVersion(ctypes.byref(version)):
            return None
        return f"{version.value // 1000}.{version.value % 1000 // 10}"

    def count(self) -> int:
        """Initialize CUDA and return the number of devices."""
        self("cuInit", 0)
        count = ctypes.c_int()
        self("cuDeviceGetCount", ctypes.byref(count))
        return count.value

    def device(self, index: int) -> ctypes.c_int:
        """Return the handle of a device."""
        device = ctypes.c_int()
        self("cuDeviceGet", ctypes.byref(device), index)
        return device

    def name(self, device: Any) -> str:
        """Return CUDA's name of the device."""
        text = ctypes.create_string_buffer(256)
        self("cuDeviceGetName", text, len(text), device)
        return text.value.decode("utf-8", "replace")

    def memory_bytes(self, device: Any) -> int:
        """Return the size of the device's memory."""
        nbytes = ctypes.c_size_t()
        self("cuDeviceTotalMem_v2", ctypes.byref(nbytes), device)
        return nbytes.value

    def attribute(self, device: Any, name: str) -> int:
        """Return the value of CU_DEVICE_ATTRIBUTE_`name`."""
        value = ctypes.c_int()
        self("cuDeviceGetAttribute", ctypes.byref(value), _ATTRIBUTES[name], device)
        return value.value

    def current_context(self) -> int:
        """Return the handle of this thread's current context; 0 for none."""
        context = ctypes.c_void_p()
        self("cuCtxGetCurrent", ctypes.byref(context))
        return context.value or 0

    def set_current_context(self, context: int) -> None:
        """Replace this thread's current context; 0 for none."""
        self("cuCtxSetCurrent", ctypes.c_void_p(context))

    def pop_context(self) -> None:
        """Pop this thread's current context off its stack."""
        self("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))

    def can_access(self, address: int) -> bool:
        """Return whether an address belongs to the device of the current context."""
        device, ordinal = ctypes.c_int(), ctypes.c_int()
        self("cuCtxGetDevice", ctypes.byref(device))
        code = self._lib.cuPointerGetAttribute(ctypes.byref(ordinal), _DEVICE_ORDINAL, ctypes.c_ulonglong(address))
        return code == 0 and ordinal.value == device.value

    def _error_name(self, code: int) -> str:
        text = ctypes.c_char_p()
        if self._lib.cuGetErrorName(code, ctypes.byref(text)) == 0 and text.value:
            return text.value.decode("ascii", "replace")
        return f"CUDA error {code}"
