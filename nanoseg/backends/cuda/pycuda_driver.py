"""The GPU through pycuda, for those who have it: the same as with cuda-bindings, but for graphs, which it has none of.

pycuda keeps a stack of contexts of its own for each thread, and aborts the process when a thread ends with something
on it. So its context is pushed around each call that wants it there, and the driver's current context, which TensorRT
wants, is set by libcuda.
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

from nanoseg.backends.cuda.calls import PIP_LINE, CudaError
from nanoseg.backends.cuda.device import Libcuda, describe
from nanoseg.backends.cuda.driver import out_of_memory
from nanoseg.errors import DependencyError, EngineError, one_line

_RETAINED: Counter[int] = Counter()  # drivers of this process that keep a primary context, by its handle
_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING
_NO_GRAPHS = f"pycuda captures no graphs: {PIP_LINE}"


class PycudaDriver:
    """pycuda 2022 or later. Raises DependencyError without it, EngineError without a driver or a GPU.

    A context of pycuda's that is current in this thread is used, and must outlive this; else the primary context of
    the device in use. Where that was retained, this is to be closed in the thread that made it.
    """

    name = "pycuda"
    graphs = False

    def __init__(self) -> None:
        self._api = _load()
        with self._named():
            self._api.init()
            self._libcuda = Libcuda()
            self._context, device, self._retained = self._take_context()
            self.facts = describe(_Asks(self._api), device)
        self._thread, self._before = threading.get_ident(), self._libcuda.current()
        self._ours_before = self._before == self._context.handle and _RETAINED[self._before] > 0
        _RETAINED[self._context.handle] += self._retained
        self.make_current()
        self._blocks: dict[int, Any] = {}
        self._pinned: dict[int, Any] = {}
        self._closed = False

    def _take_context(self) -> tuple[Any, Any, bool]:
        """The context, its device, and whether it was retained."""
        current = self._api.Context.get_current()
        if current is not None:
            return current, self._api.Context.get_device(), False
        try:
            device = self._api.Context.get_device()
        except self._api.Error:  # no context is current
            device = self._api.Device(0)
        primary = device.retain_primary_context()
        if self._libcuda.current() not in (0, primary.handle):
            raise EngineError(f"pycuda cannot use the CUDA context of another library: {PIP_LINE}")
        return primary, device, True

    def make_current(self) -> None:
        self._libcuda.make_current(self._context.handle)

    @contextmanager
    def _here(self) -> Iterator[None]:
        """pycuda makes and frees things only where its own stack of this thread has the context on top."""
        current = self._api.Context.get_current()
        elsewhere = current is None or current != self._context
        with self._named():
            if elsewhere:
                self._context.push()
            try:
                yield
            finally:
                if elsewhere:
                    self._context.pop()

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Its errors, which say "cuX failed: words", as ours."""
        try:
            yield
        except self._api.Error as error:
            function, _, words = one_line(error).partition(" failed: ")
            raise CudaError(function, words) from error

    def free_bytes(self) -> int:
        with self._here():
            return int(self._api.mem_get_info()[0])

    def close(self) -> None:
        """Leave the context; where arrays of pinned memory are still held, when the last of them goes."""
        self._closed = True
        if self._pinned or threading.get_ident() != self._thread:
            return
        if self._retained:
            self._retained = False
            self._context.detach()  # pushes the context, and leaves it there
            self._libcuda.pop()
            _RETAINED[self._context.handle] -= 1
            if self._ours_before and not _RETAINED[self._context.handle]:
                self._before = 0  # it was that of another such driver, which was closed before this one
        if self._libcuda.current() == self._context.handle:
            self._libcuda.make_current(self._before)

    def new_device(self, nbytes: int) -> int:
        with self._here():
            try:
                block = self._api.mem_alloc(nbytes)
            except self._api.MemoryError as error:
                raise out_of_memory("cuMemAlloc", "device memory", nbytes, *self._api.mem_get_info()) from error
        self._blocks[int(block)] = block
        return int(block)

    def free_device(self, address: int) -> None:
        with self._here():
            self._blocks.pop(address).free()

    def new_host(self, nbytes: int, mapped: bool) -> int:
        kinds = self._api.host_alloc_flags
        flags = kinds.PORTABLE | (kinds.DEVICEMAP if mapped else 0)
        with self._here():
            try:
                array = self._api.pagelocked_empty(nbytes, np.uint8, mem_flags=flags)
            except self._api.MemoryError as error:
                raise out_of_memory("cuMemHostAlloc", "pinned memory", nbytes, *self._api.mem_get_info()) from error
        self._pinned[array.ctypes.data] = array.base
        return int(array.ctypes.data)

    def free_host(self, address: int) -> None:
        with self._here():
            self._pinned.pop(address).free()
        if self._closed:
            self.close()

    def mapped_address(self, address: int) -> int:
        with self._here():
            return int(self._pinned[address].get_device_pointer())

    def is_here(self, address: int) -> bool:
        return self._libcuda.can_read(address)

    def copy_in(self, device: int, host: int, nbytes: int, stream: Any) -> None:
        with self._named():
            self._api.memcpy_htod_async(device, _bytes_at(host, nbytes), stream[0])

    def copy_out(self, host: int, device: int, nbytes: int, stream: Any) -> None:
        with self._named():
            self._api.memcpy_dtoh_async(_bytes_at(host, nbytes), device, stream[0])

    def copy_across(self, to: int, device: int, nbytes: int, stream: Any) -> None:
        with self._named():
            self._api.memcpy_dtod_async(to, device, nbytes, stream[0])

    def clear(self, device: int, nbytes: int, stream: Any) -> None:
        with self._named():
            self._api.memset_d8_async(device, 0, nbytes, stream[0])

    # Streams and events are in a list of one: pycuda frees them when they are dropped, and that must happen here.

    def new_stream(self) -> Any:
        with self._here():
            return [self._api.Stream(_NON_BLOCKING)]

    def free_stream(self, stream: Any) -> None:
        with self._here():
            stream.clear()

    def handle(self, stream: Any) -> int:
        return int(stream[0].handle)

    def synchronize_stream(self, stream: Any) -> None:
        with self._here():  # whoever closes it may be another thread
            stream[0].synchronize()

    def wait(self, stream: Any, event: Any) -> None:
        with self._named():
            stream[0].wait_for_event(event[0])

    def wait_for_stranger(self, handle: int, stream: Any | None, event: Any) -> None:
        with self._here():
            self._api.Context.synchronize()  # pycuda cannot name a stream that it did not make

    def new_event(self, timing: bool) -> Any:
        flags = self._api.event_flags
        with self._here():
            return [self._api.Event(flags.DEFAULT if timing else flags.DISABLE_TIMING)]

    def free_event(self, event: Any) -> None:
        with self._here():
            event.clear()

    def record(self, event: Any, stream: Any, external: bool) -> None:
        if external:
            raise EngineError(_NO_GRAPHS)
        with self._named():
            event[0].record(stream[0])

    def synchronize_event(self, event: Any) -> None:
        with self._named():
            event[0].synchronize()

    def done(self, event: Any) -> bool:
        with self._named():
            return bool(event[0].query())

    def milliseconds(self, start: Any, end: Any) -> float:
        with self._named():
            return float(end[0].time_since(start[0]))

    def begin_capture(self, stream: Any) -> None:
        raise EngineError(_NO_GRAPHS)

    def end_capture(self, stream: Any, keep: bool) -> Any:
        raise EngineError(_NO_GRAPHS)

    def launch(self, graph: Any, stream: Any) -> None:
        raise EngineError(_NO_GRAPHS)

    def free_graph(self, graph: Any) -> None:
        raise EngineError(_NO_GRAPHS)


class _Asks:
    """pycuda's answers about a device, as describe() wants them."""

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
