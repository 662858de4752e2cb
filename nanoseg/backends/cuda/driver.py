"""The driver protocol of a GPU's buffers, streams and graphs, implemented with cuda-bindings and with pycuda.

Handles of streams, events and graphs are the provider's own objects; addresses are plain integers.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol
from weakref import finalize

from nanoseg.errors import EngineError

PIP_LINE = 'pip install "nanoseg[cuda12]" for CUDA 12, "nanoseg[cuda13]" for CUDA 13'
MEMORY_HINT = "close other programs (on a Jetson the desktop too: sudo init 3), or use fewer or smaller engines"
OUT_OF_MEMORY = "CUDA_ERROR_OUT_OF_MEMORY"
WAITS = ("auto", "spin", "block")  # how the host waits for an event; auto: as the driver likes
_GIB = 1 << 30
_RESTART = "work on the GPU failed, and this process cannot use CUDA any more: start it again"
_ADVICE = {
    "INVALID_CONTEXT": "no CUDA context is current in this thread: call make_current() in it first",
    "CONTEXT_IS_DESTROYED": "the owner of the CUDA context has destroyed it: open the GPU again",
    "ILLEGAL_ADDRESS": _RESTART,
    "LAUNCH_FAILED": _RESTART,
    "MISALIGNED_ADDRESS": _RESTART,
    "STREAM_CAPTURE_UNSUPPORTED": "not while work is captured into a graph: do it before the capture",
    "STREAM_CAPTURE_INVALIDATED": "a call that no graph can hold was made during the capture",
    "STREAM_CAPTURE_UNJOINED": "the stream that began the capture must wait for an event of every other stream in it",
    "STREAM_CAPTURE_ISOLATION": "work of a capture cannot wait for work outside of it",
    "STREAM_CAPTURE_MERGE": "two captures cannot become one",
    "STREAM_CAPTURE_IMPLICIT": "the default stream cannot be used during a capture",
    "CAPTURED_EVENT": "outside its capture an event can only be used if it was recorded with external=True",
}


class CudaError(EngineError):
    """An error code of a driver function: `function`, and `code` as CUDA names it."""

    def __init__(self, function: str, code: str, detail: str = "") -> None:
        self.function, self.code = function, code
        detail = detail or _ADVICE.get(code.removeprefix("CUDA_ERROR_"), "")
        super().__init__(f"{function}: {code}{': ' if detail else ''}{detail}")


@dataclass(frozen=True)
class DeviceProperties:
    """The properties of one CUDA device."""

    name: str  # CUDA's name: that of every Jetson Orin is "Orin"
    compute_capability: tuple[int, int]
    integrated: bool  # it shares the host's memory
    memory_bytes: int

    @property
    def board(self) -> str:
        """The name that distinguishes boards, used by engine records: "Orin 8GB".

        The memory size distinguishes Jetsons, and unlike the number of multiprocessors it is the same in every power
        mode. The system reserves a part of it, so it is rounded up to a power of two.
        """
        if not self.integrated:
            return self.name
        return f"{self.name} {1 << ((self.memory_bytes - 1) // _GIB).bit_length()}GB"


class DeviceQueries(Protocol):
    """The queries that read_properties() makes; each raises CudaError."""

    def name(self, device: Any) -> str: ...
    def memory_bytes(self, device: Any) -> int: ...
    def attribute(self, device: Any, name: str) -> int:
        """Return the value of CU_DEVICE_ATTRIBUTE_`name`."""


def read_properties(queries: DeviceQueries, device: Any) -> DeviceProperties:
    """Read the properties of one device; raises CudaError."""
    name = queries.name(device)
    major, minor, integrated = (
        queries.attribute(device, name)
        for name in ("COMPUTE_CAPABILITY_MAJOR", "COMPUTE_CAPABILITY_MINOR", "INTEGRATED")
    )
    return DeviceProperties(name, (major, minor), bool(integrated), queries.memory_bytes(device))


class Driver(Protocol):
    """One device in one context; every function raises CudaError for an error code of the driver.

    Functions that create or free something work in any thread; the others need the context current in the calling one.
    """

    name: str
    supports_graphs: bool
    properties: DeviceProperties

    def make_current(self) -> None: ...
    def free_bytes(self) -> int: ...
    def close(self) -> None: ...

    def allocate_device(self, nbytes: int) -> int: ...
    def free_device(self, address: int) -> None: ...
    def allocate_host(self, nbytes: int, mapped: bool) -> int: ...
    def free_host(self, address: int) -> None: ...
    def mapped_address(self, address: int) -> int:
        """Return the device address of memory that was allocated with `mapped`."""

    def can_access(self, address: int) -> bool:
        """Return whether an address belongs to this device."""

    def copy_host_to_device(self, device: int, host: int, nbytes: int, stream: Any) -> None: ...
    def copy_device_to_host(self, host: int, device: int, nbytes: int, stream: Any) -> None: ...
    def copy_device_to_device(self, target: int, source: int, nbytes: int, stream: Any) -> None: ...
    def fill_zeros(self, device: int, nbytes: int, stream: Any) -> None: ...

    def create_stream(self, high: bool) -> Any:
        """Create a stream; `high`: of the highest priority, where the driver has priorities."""

    def destroy_stream(self, stream: Any) -> None: ...
    def stream_handle(self, stream: Any) -> int:
        """Return the CUstream as a plain integer, as TensorRT and ONNX Runtime take it."""

    def synchronize_stream(self, stream: Any) -> None: ...
    def wait_event(self, stream: Any, event: Any) -> None:
        """Make the stream wait for the event; the host does not."""

    def wait_foreign_stream(self, handle: int, stream: Any | None, event: Any) -> None:
        """Wait for another library's stream: `stream` does by means of `event`, or the host where it is None."""

    def create_event(self, timing: bool) -> Any: ...
    def destroy_event(self, event: Any) -> None: ...
    def record_event(self, event: Any, stream: Any, external: bool) -> None:
        """Record an event; `external`: inside a capture, so that code outside of it can wait for the event."""

    def synchronize_event(self, event: Any) -> None: ...
    def query_event(self, event: Any) -> bool:
        """Return whether the work before the event is done, without waiting."""

    def elapsed_ms(self, start: Any, end: Any) -> float: ...

    def begin_capture(self, stream: Any) -> None: ...
    def end_capture(self, stream: Any, keep: bool) -> Any:
        """Return the instantiated graph; None, and no error, without `keep`."""

    def launch_graph(self, graph: Any, stream: Any) -> None: ...
    def destroy_graph(self, graph: Any) -> None: ...


class DriverResource:
    """Something that a driver allocated, freed by close(), by the end of a `with`, or when it is garbage collected."""

    def __init__(self, value: Any, free: Callable[[Any], None]) -> None:
        self._value, self._free = value, free
        self._finalizer = finalize(self, _free_quietly, free, value)
        self._finalizer.atexit = False  # the driver itself frees what is left when the process ends

    @property
    def value(self) -> Any:
        """The driver's handle or address; raises EngineError once it is closed."""
        if self._value is None:
            raise closed_error(type(self).__name__)
        return self._value

    @property
    def is_closed(self) -> bool:
        """Whether it was freed."""
        return not self._finalizer.alive

    def close(self) -> None:
        """Free it; wait for the work that uses it before. May be called twice."""
        if self._finalizer.detach():
            value, self._value = self._value, None
            self._free(value)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def closed_error(name: str) -> EngineError:
    """Return the error of using something that is closed."""
    return EngineError(f"{name}: it is closed and cannot be used any more")


def out_of_memory_error(function: str, kind: str, nbytes: int, free: int, total: int) -> CudaError:
    """Return the error of an allocation that does not fit, with the memory that there is."""
    detail = f"wanted {_size(nbytes)} of {kind}, free are {_size(free)} of {_size(total)}; {MEMORY_HINT}"
    return CudaError(function, OUT_OF_MEMORY, detail)


def _free_quietly(free: Callable[[Any], None], value: Any) -> None:
    with suppress(EngineError):  # an earlier call has reported what broke the driver
        free(value)


def _size(nbytes: int) -> str:
    return f"{nbytes / 1e9:.1f} GB" if nbytes >= 1e9 else f"{nbytes / 1e6:.1f} MB"
