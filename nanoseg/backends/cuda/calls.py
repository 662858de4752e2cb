"""CUDA's driver functions through cuda-bindings, with every answer checked and named."""

from __future__ import annotations

import importlib
from typing import Any

from nanoseg.errors import DependencyError, EngineError, one_line

PIP_LINE = 'pip install "nanoseg[cuda12]" for CUDA 12, "nanoseg[cuda13]" for CUDA 13'
_MODULE = "cuda.bindings.driver"
_START_AGAIN = "the GPU's work went wrong and CUDA is lost to this process: start it again"
_NOT_IN_CAPTURE = "not while work is captured into a graph: make it ready before"
_WHAT_TO_DO = {
    "INVALID_CONTEXT": "no CUDA context is current in this thread: call make_current() in it first",
    "CONTEXT_IS_DESTROYED": "whoever made the CUDA context took it away: open the GPU again",
    "ILLEGAL_ADDRESS": _START_AGAIN,
    "LAUNCH_FAILED": _START_AGAIN,
    "MISALIGNED_ADDRESS": _START_AGAIN,
    "STREAM_CAPTURE_UNSUPPORTED": _NOT_IN_CAPTURE,
    "STREAM_CAPTURE_INVALIDATED": "something that no graph can hold was asked while work was captured",
    "STREAM_CAPTURE_UNJOINED": "the stream that began the capture must wait for an event of every other stream in it",
    "STREAM_CAPTURE_ISOLATION": "work of a capture cannot wait for work outside of it",
    "STREAM_CAPTURE_MERGE": "two captures cannot become one",
    "STREAM_CAPTURE_IMPLICIT": "the default stream cannot be used meanwhile",
    "CAPTURED_EVENT": "an event of a capture is seen from outside only where it is recorded with external=True",
}


class CudaError(EngineError):
    """A driver function answered with an error: `function`, and `code` as CUDA names it."""

    def __init__(self, function: str, code: str, what: str = "") -> None:
        self.function, self.code = function, code
        what = what or _WHAT_TO_DO.get(code.removeprefix("CUDA_ERROR_"), "")
        super().__init__(f"{function}: {code}{': ' if what else ''}{what}")


class Calls:
    """The functions of cuda.bindings.driver, 12.9 or 13; what they give comes without the code before it."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver
        self._success = driver.CUresult.CUDA_SUCCESS

    def __call__(self, function: str, *arguments: Any) -> Any:
        """What `function` gives: nothing, a value or a tuple of values. Raises CudaError."""
        try:
            code, *values = getattr(self.driver, function)(*arguments)
        except ValueError as error:  # an enum of the bindings that lacks the driver's answer
            raise CudaError(function, one_line(error), "newer than these cuda-bindings: install newer ones") from error
        if code != self._success:
            raise CudaError(function, name_of(code))
        return values[0] if len(values) == 1 else tuple(values) or None

    def start(self) -> None:
        """Make CUDA ready; raises EngineError without a driver, CudaError without a GPU."""
        try:
            self("cuInit", 0)
        except EngineError:
            raise
        except Exception as error:  # without a driver, what is raised differs between versions
            raise EngineError(f"no CUDA driver on this machine: {one_line(error)}") from error

    def device_in_use(self) -> Any:
        """The device whose context is current in this thread, else the first."""
        code, device = self.driver.cuCtxGetDevice()
        return device if code == self._success else self("cuDeviceGet", 0)

    def name(self, device: Any) -> str:
        """As CUDA calls the device."""
        text: bytes = self("cuDeviceGetName", 256, device)
        # What lies behind the terminating zero is the binding's own filling.
        return text.split(b"\0", 1)[0].decode(errors="replace").strip()

    def memory_bytes(self, device: Any) -> int:
        """All memory of the device."""
        return int(self("cuDeviceTotalMem", device))

    def attribute(self, device: Any, name: str) -> int:
        """CU_DEVICE_ATTRIBUTE_`name` of the device."""
        attribute = getattr(self.driver.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
        return int(self("cuDeviceGetAttribute", attribute, device))


def load_bindings() -> Any:
    """The module cuda.bindings.driver; raises DependencyError with the pip line, or why it cannot be loaded."""
    try:
        return importlib.import_module(_MODULE)
    except Exception as error:  # a library that is broken raises what it likes
        if isinstance(error, ModuleNotFoundError) and error.name in ("cuda", "cuda.bindings", _MODULE):
            raise DependencyError(f"cuda-bindings is not installed: {PIP_LINE}") from error
        raise DependencyError(f"cuda-bindings cannot be loaded: {one_line(error)}") from error


def name_of(code: Any) -> str:
    """A return code as CUDA spells it."""
    return str(getattr(code, "name", code))
