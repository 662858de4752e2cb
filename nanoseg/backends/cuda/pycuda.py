"""The driver protocol through pycuda, which has no graphs.

pycuda keeps a context stack of its own for each thread, and aborts the process when a thread ends with a context on
it. So its context is pushed only around the calls that need it, and the driver's current context, which TensorRT
needs, is set through libcuda.
"""

from __future__ import annotations

import ctypes
import importlib
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from nanoseg.backends.cuda.calls import LibcudaCalls
from nanoseg.backends.cuda.driver import PIP_LINE, CudaError, out_of_memory_error, read_properties
from nanoseg.errors import DependencyError, EngineError, one_line

_RETAINED: Counter[int] = Counter()  # drivers of this process that retain a primary context, by its handle
_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING
_NO_GRAPHS = f"pycuda captures no graphs: {PIP_LINE}"


class PycudaDriver:
    """A Driver by pycuda 2022 or later; raises DependencyError without it, EngineError without a driver or a GPU.

    It uses a context of pycuda that is current in this thread, which must outlive this object, else it retains the
    primary context of the device in use, and must be closed in the thread that created it.
    """

    name = "pycuda"
    supports_graphs = False

    def __init__(self, wait: str = "auto") -> None:
        self._api, self._wait = _load(), wait
        with self._cuda_errors():
            self._api.init()
            self._libcuda = LibcudaCalls()
            self._context, device, self._retained = self._take_context()
            self.properties = read_properties(_Queries(self._api), device)
        self._thread, self._previous = threading.get_ident(), self._libcuda.current_context()
        self._previous_is_ours = self._previous == self._context.handle and _RETAINED[self._previous] > 0
        _RETAINED[self._context.handle] += self._retained
        self.make_current()
        self._blocks: dict[int, Any] = {}
        self._pinned: dict[int, Any] = {}
        self._closed = False

    def _take_context(self) -> tuple[Any, Any, bool]:
        """Return the context, its device, and whether it was retained."""
        current = self._api.Context.get_current()
        if current is not None:
            return current, self._api.Context.get_device(), False
        try:
            device = self._api.Context.get_device()
        except self._api.Error:  # no context is current
            device = self._api.Device(0)
        primary = device.retain_primary_context()
        if self._libcuda.current_context() not in (0, primary.handle):
            raise EngineError(f"pycuda cannot use the CUDA context of another library: {PIP_LINE}")
        return primary, device, True

    def make_current(self) -> None:
        self._libcuda.set_current_context(self._context.handle)

    @contextmanager
    def _current(self) -> Iterator[None]:
        """Push the context on pycuda's stack of this thread: pycuda needs it there to create and free things."""
        current = self._api.Context.get_current()
        push = current is None or current != self._context
        with self._cuda_errors():
            if push:
                self._context.push()
            try:
                yield
            finally:
                if push:
                    self._context.pop()

    @contextmanager
    def _cuda_errors(self) -> Iterator[None]:
        """Turn pycuda's errors, "cuX failed: message", into CudaError."""
        try:
            yield
        except self._api.Error as error:
            function, _, message = one_line(error).partition(" failed: ")
            raise CudaError(function, message) from error

    def free_bytes(self) -> int:
        with self._current():
            return int(self._api.mem_get_info()[0])

    def close(self) -> None:
        """Release the context; while views of pinned memory are alive, that waits for the last of them."""
        self._closed = True
        if self._pinned or threading.get_ident() != self._thread:
            return
        if self._retained:
            self._retained = False
            self._context.detach()  # pushes the context, and leaves it there
            self._libcuda.pop_context()
            _RETAINED[self._context.handle] -= 1
            if self._previous_is_ours and not _RETAINED[self._context.handle]:
                self._previous = 0  # that of another such driver, which was closed before this one
        if self._libcuda.current_context() == self._context.handle:
            self._libcuda.set_current_context(self._previous)

    def allocate_device(self, nbytes: int) -> int:
        with self._current():
            try:
                block = self._api.mem_alloc(nbytes)
            except self._api.MemoryError as error:
                raise out_of_memory_error("cuMemAlloc", "device memory", nbytes, *self._api.mem_get_info()) from error
        self._blocks[int(block)] = block
        return int(block)

    def free_device(self, address: int) -> None:
        with self._current():
            self._blocks.pop(address).free()

    def allocate_host(self, nbytes: int, mapped: bool) -> int:
        flags = self._api.host_alloc_flags.PORTABLE | (self._api.host_alloc_flags.DEVICEMAP if mapped else 0)
        with self._current():
            try:
                array = self._api.pagelocked_empty(nbytes, np.uint8, mem_flags=flags)
            except self._api.MemoryError as error:
                raise out_of_memory_error(
                    "cuMemHostAlloc", "pinned memory", nbytes, *self._api.mem_get_info()
                ) from error
        self._pinned[array.ctypes.data] = array.base
        return int(array.ctypes.data)

    def free_host(self, address: int) -> None:
        with self._current():
            self._pinned.pop(address).free()
        if self._closed:
            self.close()

    def mapped_address(self, address: int) -> int:
        with self._current():
            return int(self._pinned[address].get_device_pointer())

    def can_access(self, address: int) -> bool:
        return self._libcuda.can_access(address)

    def copy_host_to_device(self, device: int, host: int, nbytes: int, stream: Any) -> None:
        with self._cuda_errors():
            self._api.memcpy_htod_async(device, _bytes_at(host, nbytes), stream[0])

    def copy_device_to_host(self, host: int, device: int, nbytes: int, stream: Any) -> None:
        with self._cuda_errors():
            self._api.memcpy_dtoh_async(_bytes_at(host, nbytes), device, stream[0])

    def copy_device_to_device(self, target: int, source: int, nbytes: int, stream: Any) -> None:
        with self._cuda_errors():
            self._api.memcpy_dtod_async(target, source, nbytes, stream[0])

    def fill_zeros(self, device: int, nbytes: int, stream: Any) -> None:
        with self._cuda_errors():
            self._api.memset_d8_async(device, 0, nbytes, stream[0])

    # Streams and events are kept in a list of one: pycuda frees them with their last reference, which is the list's.

    def create_stream(self, high: bool) -> Any:  # pycuda has no priorities
        with self._current():
            return [self._api.Stream(_NON_BLOCKING)]

    def destroy_stream(self, stream: Any) -> None:
        with self._current():
            stream.clear()

    def stream_handle(self, stream: Any) -> int:
        return int(stream[0].handle)

    def synchronize_stream(self, stream: Any) -> None:
        with self._current():  # another thread may close it
            stream[0].synchronize()

    def wait_event(self, stream: Any, event: Any) -> None:
        with self._cuda_errors():
            stream[0].wait_for_event(event[0])

    def wait_foreign_stream(self, handle: int, stream: Any | None, event: Any) -> None:
        with self._current():
            self._api.Context.synchronize()  # pycuda cannot use a stream that it did not create

    def create_event(self, timing: bool) -> Any:
        kinds = self._api.event_flags
        flags = int(kinds.DEFAULT if timing else kinds.DISABLE_TIMING)
        if self._wait == "block":
            flags |= int(kinds.BLOCKING_SYNC)
        with self._current():
            return [self._api.Event(flags)]

    def destroy_event(self, event: Any) -> None:
        with self._current():
            event.clear()

    def record_event(self, event: Any, stream: Any, external: bool) -> None:
        if external:
            raise EngineError(_NO_GRAPHS)
        with self._cuda_errors():
            event[0].record(stream[0])

    def synchronize_event(self, event: Any) -> None:
        with self._cuda_errors():
            event[0].synchronize()

    def query_event(self, event: Any) -> bool:
        with self._cuda_errors():
            return bool(event[0].query())

    def elapsed_ms(self, start: Any, end: Any) -> float:
        with self._cuda_errors():
            return float(end[0].time_since(start[0]))

    def begin_capture(self, stream: Any) -> None:
        raise EngineError(_NO_GRAPHS)

    def end_capture(self, stream: Any, keep: bool) -> Any:
        raise EngineError(_NO_GRAPHS)

    def launch_graph(self, graph: Any, stream: Any) -> None:
        raise EngineError(_NO_GRAPHS)

    def destroy_graph(self, graph: Any) -> None:
        raise EngineError(_NO_GRAPHS)


class _Queries:
    """The DeviceQueries of pycuda."""

    def __init__(self, api: Any) -> None:
        self._api = api

    def name(self, device: Any) -> str:
        return str(device.name())

    def memory_bytes(self, device: Any) -> int:
        return int(device.total_memory())

    def attribute(self, device: Any, name: str) -> int:
        return int(device.get_attribute(getattr(self._api.device_attribute, name)))


def _load() -> Any:
    try:
        return importlib.import_module("pycuda.driver")
    except Exception as error:  # a library that is broken raises what it likes
        if isinstance(error, ModuleNotFoundError) and error.name in ("pycuda", "pycuda.driver"):
            raise DependencyError(f'pycuda is not installed: pip install "nanoseg[pycuda]", or {PIP_LINE}') from error
        raise DependencyError(f"pycuda cannot be loaded: {one_line(error)}") from error


def _bytes_at(address: int, nbytes: int) -> Any:
    return (ctypes.c_char * nbytes).from_address(address)
