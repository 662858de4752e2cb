"""The driver protocol through cuda-bindings 12.9 or 13, by NVIDIA's driver API alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import finalize

from nanoseg.backends.cuda.calls import BindingsCalls, load_bindings
from nanoseg.backends.cuda.driver import OUT_OF_MEMORY, CudaError, out_of_memory_error, read_properties
from nanoseg.errors import EngineError

_SCHED_SPIN = 1  # CU_CTX_SCHED_SPIN


class _Captures(threading.local):
    """The number of captures that this thread has open, and the resources to free after them.

    Python may collect garbage during a capture, and a call that frees something would invalidate it.
    """

    def __init__(self) -> None:
        self.open = 0
        self.deferred: list[tuple[BindingsDriver, str, Any]] = []


_CAPTURES = _Captures()


class BindingsDriver:
    """A Driver by cuda-bindings; raises DependencyError without them, EngineError without a driver or a GPU.

    It uses the context that is current in this thread. If that is the device's primary context, as torch's and cupy's
    is, it is retained, so that it lives as long as this object; any other context must outlive this object. If none is
    current, the primary context of the first device is retained.
    """

    name = "cuda-bindings"
    supports_graphs = True

    def __init__(self, wait: str = "auto") -> None:
        self._api, self._wait = load_bindings(), wait
        self._calls = BindingsCalls(self._api)
        self._calls.initialize()
        self._check_versions()
        self._device = self._calls.device_in_use()
        self.properties = read_properties(self._calls, self._device)
        self._context, retained = self._take_context()
        self._finalizer = finalize(
            self, _release_context, self._calls, self._device, retained, self._context, threading.get_ident()
        )
        self._finalizer.atexit = False
        self._calls("cuCtxPushCurrent", self._context)
        self._pinned: set[int] = set()  # views may outlive close(), and the context must outlive them
        self._closed = False

    def _check_versions(self) -> None:
        driver, bindings = self._calls("cuDriverGetVersion"), self._api.CUDA_VERSION
        if bindings // 1000 > driver // 1000:
            driver_cuda = f"{driver // 1000}.{driver % 1000 // 10}"
            raise EngineError(
                f"cuda-bindings is for CUDA {bindings // 1000}, but this machine's driver for CUDA {driver_cuda}: "
                + (f'pip install "nanoseg[cuda{driver // 1000}]"' if driver >= 12000 else "install a newer driver")
            )

    def _take_context(self) -> tuple[Any, bool]:
        """Return the context, and whether it was retained."""
        code, _ = self._api.cuCtxGetDevice()  # an error without a context, and for a destroyed one
        if code != self._api.CUresult.CUDA_SUCCESS:
            if self._wait == "spin":
                self._calls("cuDevicePrimaryCtxSetFlags", self._device, _SCHED_SPIN)
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
    def _current(self) -> Iterator[None]:
        push = int(self._calls("cuCtxGetCurrent")) != int(self._context)
        if push:
            self._calls("cuCtxPushCurrent", self._context)
        try:
            yield
        finally:
            if push:
                self._calls("cuCtxPopCurrent")

    def free_bytes(self) -> int:
        with self._current():
            return int(self._calls("cuMemGetInfo")[0])

    def close(self) -> None:
        """Release the context; while views of pinned memory are alive, that waits for the last of them."""
        self._closed = True
        if not self._pinned:
            self._finalizer()

    def _release(self, function: str, handle: Any) -> None:
        if _CAPTURES.open:
            _CAPTURES.deferred.append((self, function, handle))
            return
        with self._current():
            self._calls(function, handle)

    def allocate_device(self, nbytes: int) -> int:
        with self._current():
            return int(self._allocate("device memory", nbytes, "cuMemAlloc", nbytes))

    def free_device(self, address: int) -> None:
        self._release("cuMemFree", address)

    def allocate_host(self, nbytes: int, mapped: bool) -> int:
        flags = self._api.CU_MEMHOSTALLOC_PORTABLE | (self._api.CU_MEMHOSTALLOC_DEVICEMAP if mapped else 0)
        with self._current():
            address = int(self._allocate("pinned memory", nbytes, "cuMemHostAlloc", nbytes, flags))
        self._pinned.add(address)
        return address

    def free_host(self, address: int) -> None:
        try:
            self._release("cuMemFreeHost", address)
        finally:
            self._pinned.discard(address)
            if self._closed and not self._pinned:
                self._finalizer()

    def _allocate(self, kind: str, nbytes: int, function: str, *arguments: Any) -> Any:
        try:
            return self._calls(function, *arguments)
        except CudaError as error:
            if error.code != OUT_OF_MEMORY:
                raise
            free, total = self._calls("cuMemGetInfo")
            raise out_of_memory_error(function, kind, nbytes, free, total) from error

    def mapped_address(self, address: int) -> int:
        with self._current():
            return int(self._calls("cuMemHostGetDevicePointer", address, 0))

    def can_access(self, address: int) -> bool:
        attribute = self._api.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
        code, *ordinal = self._api.cuPointerGetAttribute(attribute, address)
        return code == self._api.CUresult.CUDA_SUCCESS and int(ordinal[0]) == int(self._device)

    def copy_host_to_device(self, device: int, host: int, nbytes: int, stream: Any) -> None:
        self._calls("cuMemcpyHtoDAsync", device, host, nbytes, stream)

    def copy_device_to_host(self, host: int, device: int, nbytes: int, stream: Any) -> None:
        self._calls("cuMemcpyDtoHAsync", host, device, nbytes, stream)

    def copy_device_to_device(self, target: int, source: int, nbytes: int, stream: Any) -> None:
        self._calls("cuMemcpyDtoDAsync", target, source, nbytes, stream)

    def fill_zeros(self, device: int, nbytes: int, stream: Any) -> None:
        self._calls("cuMemsetD8Async", device, 0, nbytes, stream)

    def create_stream(self, high: bool) -> Any:
        flags = int(self._api.CUstream_flags.CU_STREAM_NON_BLOCKING)
        with self._current():
            if not high:
                return self._calls("cuStreamCreate", flags)
            _, highest = self._calls("cuCtxGetStreamPriorityRange")
            return self._calls("cuStreamCreateWithPriority", flags, highest)

    def destroy_stream(self, stream: Any) -> None:
        self._release("cuStreamDestroy", stream)

    def stream_handle(self, stream: Any) -> int:
        return int(stream)

    def synchronize_stream(self, stream: Any) -> None:
        with self._current():  # another thread may close it
            self._calls("cuStreamSynchronize", stream)

    def wait_event(self, stream: Any, event: Any) -> None:
        self._calls("cuStreamWaitEvent", stream, event, 0)

    def wait_foreign_stream(self, handle: int, stream: Any | None, event: Any) -> None:
        if stream is None:
            self._calls("cuStreamSynchronize", handle)
        else:
            self._calls("cuEventRecord", event, handle)
            self.wait_event(stream, event)

    def create_event(self, timing: bool) -> Any:
        kinds = self._api.CUevent_flags
        flags = int(kinds.CU_EVENT_DEFAULT if timing else kinds.CU_EVENT_DISABLE_TIMING)
        if self._wait == "block":
            flags |= int(kinds.CU_EVENT_BLOCKING_SYNC)
        with self._current():
            return self._calls("cuEventCreate", flags)

    def destroy_event(self, event: Any) -> None:
        self._release("cuEventDestroy", event)

    def record_event(self, event: Any, stream: Any, external: bool) -> None:
        if external:
            flag = int(self._api.CUevent_record_flags.CU_EVENT_RECORD_EXTERNAL)
            self._calls("cuEventRecordWithFlags", event, stream, flag)
        else:
            self._calls("cuEventRecord", event, stream)

    def synchronize_event(self, event: Any) -> None:
        self._calls("cuEventSynchronize", event)

    def query_event(self, event: Any) -> bool:
        try:
            self._calls("cuEventQuery", event)
        except CudaError as error:
            if error.code == "CUDA_ERROR_NOT_READY":
                return False
            raise
        return True

    def elapsed_ms(self, start: Any, end: Any) -> float:
        return float(self._calls("cuEventElapsedTime", start, end))

    def begin_capture(self, stream: Any) -> None:
        _CAPTURES.open += 1  # first, so that Ctrl-C right after the call finds it open
        # Thread-local: other threads, such as a camera's, may call anything meanwhile.
        self._calls("cuStreamBeginCapture", stream, self._api.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)

    def end_capture(self, stream: Any, keep: bool) -> Any:
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
                _CAPTURES.deferred.append((self, "cuGraphDestroy", graph))
            if not _CAPTURES.open:
                deferred, _CAPTURES.deferred = _CAPTURES.deferred, []
                for driver, function, handle in deferred:
                    driver._release(function, handle)

    def launch_graph(self, graph: Any, stream: Any) -> None:
        self._calls("cuGraphLaunch", graph, stream)

    def destroy_graph(self, graph: Any) -> None:
        self._release("cuGraphExecDestroy", graph)


def _release_context(calls: BindingsCalls, device: Any, retained: bool, context: Any, thread: int) -> None:
    # Only the thread that pushed it can pop it.
    if threading.get_ident() == thread and int(calls("cuCtxGetCurrent")) == int(context):
        calls("cuCtxPopCurrent")
    if retained:
        calls("cuDevicePrimaryCtxRelease", device)
