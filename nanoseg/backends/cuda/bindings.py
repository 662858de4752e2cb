"""The GPU through cuda-bindings 12.9 or 13: NVIDIA's driver API, and of it only that."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import finalize

from nanoseg.backends.cuda.calls import Calls, CudaError, load_bindings
from nanoseg.backends.cuda.device import describe
from nanoseg.backends.cuda.driver import OUT_OF_MEMORY, out_of_memory
from nanoseg.errors import EngineError


class _Captures(threading.local):
    """How many captures this thread is in, and what is to be freed after them.

    Python may collect garbage in the midst of a capture, and a call that frees would spoil it.
    """

    def __init__(self) -> None:
        self.open = 0
        self.late: list[tuple[BindingsDriver, str, Any]] = []


_CAPTURES = _Captures()


class BindingsDriver:
    """cuda-bindings 12.9 or 13. Raises DependencyError without them, EngineError without a driver or a GPU.

    A context that is current in this thread is used. Where that is the device's primary context, as torch's and
    cupy's is, it is retained too, so that it lives as long as this does; any other must outlive this. Where none is
    current, the primary context of the first device is retained.
    """

    name = "cuda-bindings"
    graphs = True

    def __init__(self) -> None:
        self._api = load_bindings()
        self._calls = Calls(self._api)
        self._calls.start()
        self._check_versions()
        self._device = self._calls.device_in_use()
        self.facts = describe(self._calls, self._device)
        self._context, retained = self._take_context()
        self._end = finalize(self, _leave, self._calls, self._device, retained, self._context, threading.get_ident())
        self._end.atexit = False
        self._calls("cuCtxPushCurrent", self._context)
        self._pinned: set[int] = set()  # arrays may outlive close(), and the context must outlive them
        self._closed = False

    def _check_versions(self) -> None:
        driver, bindings = self._calls("cuDriverGetVersion"), self._api.CUDA_VERSION
        if bindings // 1000 > driver // 1000:
            had = f"{driver // 1000}.{driver % 1000 // 10}"
            raise EngineError(
                f"cuda-bindings is for CUDA {bindings // 1000}, but this machine's driver for CUDA {had}: "
                + (f'pip install "nanoseg[cuda{driver // 1000}]"' if driver >= 12000 else "install a newer driver")
            )

    def _take_context(self) -> tuple[Any, bool]:
        code, _ = self._api.cuCtxGetDevice()  # an error without a context, and for one that is no more
        if code != self._api.CUresult.CUDA_SUCCESS:
            return self._calls("cuDevicePrimaryCtxRetain", self._device), True
        current = self._calls("cuCtxGetCurrent")
        _, active = self._calls("cuDevicePrimaryCtxGetState", self._device)
        if active:
            primary = self._calls("cuDevicePrimaryCtxRetain", self._device)
            if int(primary) == int(current):
                return current, True
            self._calls("cuDevicePrimaryCtxRelease", self._device)
        return current, False

    def make_current(self) -> None:
        self._calls("cuCtxSetCurrent", self._context)

    @contextmanager
    def _here(self) -> Iterator[None]:
        elsewhere = int(self._calls("cuCtxGetCurrent")) != int(self._context)
        if elsewhere:
            self._calls("cuCtxPushCurrent", self._context)
        try:
            yield
        finally:
            if elsewhere:
                self._calls("cuCtxPopCurrent")

    def free_bytes(self) -> int:
        with self._here():
            return int(self._calls("cuMemGetInfo")[0])

    def close(self) -> None:
        """Leave the context; where arrays of pinned memory are still held, when the last of them goes."""
        self._closed = True
        if not self._pinned:
            self._end()

    def _release(self, function: str, handle: Any) -> None:
        if _CAPTURES.open:
            _CAPTURES.late.append((self, function, handle))
            return
        with self._here():
            self._calls(function, handle)

    def new_device(self, nbytes: int) -> int:
        with self._here():
            return int(self._make("device memory", nbytes, "cuMemAlloc", nbytes))

    def free_device(self, address: int) -> None:
        self._release("cuMemFree", address)

    def new_host(self, nbytes: int, mapped: bool) -> int:
        flags = self._api.CU_MEMHOSTALLOC_PORTABLE | (self._api.CU_MEMHOSTALLOC_DEVICEMAP if mapped else 0)
        with self._here():
            address = int(self._make("pinned memory", nbytes, "cuMemHostAlloc", nbytes, flags))
        self._pinned.add(address)
        return address

    def free_host(self, address: int) -> None:
        try:
            self._release("cuMemFreeHost", address)
        finally:
            self._pinned.discard(address)
            if self._closed and not self._pinned:
                self._end()

    def _make(self, what: str, nbytes: int, function: str, *arguments: Any) -> Any:
        try:
            return self._calls(function, *arguments)
        except CudaError as error:
            if error.code != OUT_OF_MEMORY:
                raise
            free, total = self._calls("cuMemGetInfo")
            raise out_of_memory(function, what, nbytes, free, total) from error

    def mapped_address(self, address: int) -> int:
        with self._here():
            return int(self._calls("cuMemHostGetDevicePointer", address, 0))

    def is_here(self, address: int) -> bool:
        """Whether the address is one that this device can read."""
        attribute = self._api.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
        code, *ordinal = self._api.cuPointerGetAttribute(attribute, address)
        return code == self._api.CUresult.CUDA_SUCCESS and int(ordinal[0]) == int(self._device)

    def copy_in(self, device: int, host: int, nbytes: int, stream: Any) -> None:
        self._calls("cuMemcpyHtoDAsync", device, host, nbytes, stream)

    def copy_out(self, host: int, device: int, nbytes: int, stream: Any) -> None:
        self._calls("cuMemcpyDtoHAsync", host, device, nbytes, stream)

    def copy_across(self, to: int, device: int, nbytes: int, stream: Any) -> None:
        self._calls("cuMemcpyDtoDAsync", to, device, nbytes, stream)

    def clear(self, device: int, nbytes: int, stream: Any) -> None:
        self._calls("cuMemsetD8Async", device, 0, nbytes, stream)

    def new_stream(self) -> Any:
        with self._here():
            return self._calls("cuStreamCreate", int(self._api.CUstream_flags.CU_STREAM_NON_BLOCKING))

    def free_stream(self, stream: Any) -> None:
        self._release("cuStreamDestroy", stream)

    def handle(self, stream: Any) -> int:
        return int(stream)

    def synchronize_stream(self, stream: Any) -> None:
        with self._here():  # whoever closes it may be another thread
            self._calls("cuStreamSynchronize", stream)

    def wait(self, stream: Any, event: Any) -> None:
        self._calls("cuStreamWaitEvent", stream, event, 0)

    def wait_for_stranger(self, handle: int, stream: Any | None, event: Any) -> None:
        """Wait for a stream that someone else made: the host does, or `stream` by way of `event`."""
        if stream is None:
            self._calls("cuStreamSynchronize", handle)
        else:
            self._calls("cuEventRecord", event, handle)
            self.wait(stream, event)

    def new_event(self, timing: bool) -> Any:
        flags = self._api.CUevent_flags
        with self._here():
            return self._calls(
                "cuEventCreate", int(flags.CU_EVENT_DEFAULT if timing else flags.CU_EVENT_DISABLE_TIMING)
            )

    def free_event(self, event: Any) -> None:
        self._release("cuEventDestroy", event)

    def record(self, event: Any, stream: Any, external: bool) -> None:
        if external:
            flag = int(self._api.CUevent_record_flags.CU_EVENT_RECORD_EXTERNAL)
            self._calls("cuEventRecordWithFlags", event, stream, flag)
        else:
            self._calls("cuEventRecord", event, stream)

    def synchronize_event(self, event: Any) -> None:
        self._calls("cuEventSynchronize", event)

    def done(self, event: Any) -> bool:
        try:
            self._calls("cuEventQuery", event)
        except CudaError as error:
            if error.code == "CUDA_ERROR_NOT_READY":
                return False
            raise
        return True

    def milliseconds(self, start: Any, end: Any) -> float:
        return float(self._calls("cuEventElapsedTime", start, end))

    def begin_capture(self, stream: Any) -> None:
        _CAPTURES.open += 1  # before, so that Ctrl-C right after the call finds it open
        # Other threads, a camera's for one, may do as they like meanwhile.
        self._calls("cuStreamBeginCapture", stream, self._api.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)

    def end_capture(self, stream: Any, keep: bool) -> Any:
        """End it and give the graph, ready to launch; None where it is not to be kept, and then no error either."""
        graph = None
        try:
            graph = self._calls("cuStreamEndCapture", stream)
            return self._calls("cuGraphInstantiate", graph, 0) if keep else None
        except CudaError:
            if keep:
                raise
            return None
        finally:
            _CAPTURES.open -= 1
            if graph is not None:
                _CAPTURES.late.append((self, "cuGraphDestroy", graph))
            if not _CAPTURES.open:
                late, _CAPTURES.late = _CAPTURES.late, []
                for driver, function, handle in late:
                    driver._release(function, handle)

    def launch(self, graph: Any, stream: Any) -> None:
        self._calls("cuGraphLaunch", graph, stream)

    def free_graph(self, graph: Any) -> None:
        self._release("cuGraphExecDestroy", graph)


def _leave(calls: Calls, device: Any, retained: bool, context: Any, thread: int) -> None:
    # Only the thread that pushed it can take it back.
    if threading.get_ident() == thread and int(calls("cuCtxGetCurrent")) == int(context):
        calls("cuCtxPopCurrent")
    if retained:
        calls("cuDevicePrimaryCtxRelease", device)
