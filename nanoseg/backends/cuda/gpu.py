"""The GPU: allocates memory, streams and events in a CUDA context that other libraries may share, and copies arrays."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, TypeVar
from weakref import WeakSet

from numpy.typing import DTypeLike

from nanoseg.backends.cuda.bindings import BindingsDriver
from nanoseg.backends.cuda.driver import CudaError, Driver, DriverResource, closed_error
from nanoseg.backends.cuda.memory import DeviceArray, DeviceBuffer, HostBuffer, read_cuda_array_interface
from nanoseg.backends.cuda.stream import Event, Stream
from nanoseg.errors import DependencyError, EngineError, UsageError

__all__ = ["PROVIDERS", "Gpu", "open_gpu"]

PROVIDERS = ("auto", "cuda-bindings", "pycuda")
_ARRAYS = (HostBuffer, DeviceBuffer, DeviceArray)  # what is copied
_Resource = TypeVar("_Resource", bound="DriverResource | HostBuffer")


def open_gpu(provider: str = "auto", wait: str = "auto") -> Gpu:
    """Open the GPU whose context is current in this thread, else the first one.

    Args:
        provider: one of PROVIDERS; auto is cuda-bindings where they can be loaded, else pycuda.
        wait: one of WAITS: how the host waits for an event. To spin takes a processor, and is the first to notice;
            to block takes none, and wakes up some microseconds later. spin needs cuda-bindings, and a context that no
            other library has made.

    Raises:
        UsageError: for another provider.
        DependencyError: with the pip line, where the provider is not installed.
        EngineError: without a driver or a GPU.
    """
    if provider not in PROVIDERS:
        raise UsageError(f"provider: wanted one of {', '.join(PROVIDERS)}, got {provider}")
    try:
        return Gpu(_open_driver(provider, wait))
    except CudaError as error:
        if error.function == "cuInit":
            raise EngineError(f"no GPU that CUDA can use: cuInit returns {error.code}; see nanoseg doctor") from error
        raise


def _open_driver(provider: str, wait: str) -> Driver:
    if provider != "pycuda":
        try:
            return BindingsDriver(wait)
        except DependencyError:
            if provider != "auto" or find_spec("pycuda") is None:
                raise
    from nanoseg.backends.cuda.pycuda import PycudaDriver

    return PycudaDriver(wait)


class Gpu:
    """One GPU; closing it closes everything that it created.

    Functions that create something work in any thread. Call make_current() in every thread that enqueues work, other
    than the one that opened the GPU.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver: Driver | None = driver
        properties = driver.properties
        self.name = properties.board  # as engine records name it: "Orin 8GB"
        self.compute_capability = properties.compute_capability
        self.integrated = properties.integrated  # host and device share their memory
        self.memory_bytes = properties.memory_bytes
        self.provider, self.supports_graphs = driver.name, driver.supports_graphs
        self._resources: WeakSet[DriverResource | HostBuffer] = WeakSet()
        self._foreign_event: Event | None = None  # one is enough: a wait is for what it recorded last

    def __repr__(self) -> str:
        return f"Gpu({self.name!r}, provider={self.provider!r})"

    def make_current(self) -> None:
        """Make its context current in this thread."""
        self._open().make_current()

    def free_bytes(self) -> int:
        """Return the device memory that is free; memory that the system could swap out does not count."""
        return self._open().free_bytes()

    def host_buffer(self, shape: Sequence[int], dtype: DTypeLike, mapped: bool = False) -> HostBuffer:
        """Allocate an array in pinned memory, not cleared; `mapped`: the GPU can access it directly."""
        return self._register(HostBuffer.allocate(self._open(), shape, dtype, mapped))

    def device_buffer(self, nbytes: int) -> DeviceBuffer:
        """Allocate device memory, not cleared."""
        return self._register(DeviceBuffer(self._open(), nbytes))

    def stream(self, high: bool = False) -> Stream:
        """Create a stream, which does not wait for the legacy default stream.

        With `high` its work goes before that of other streams, where the driver has priorities.
        """
        return self._register(Stream(self._open(), self._register, high))

    def event(self, timing: bool = False) -> Event:
        """Create an event; with `timing`, which costs a little, it can measure milliseconds."""
        return self._register(Event(self._open(), timing))

    def wrap(self, obj: Any, stream: Stream | None = None) -> DeviceArray:
        """Return another library's array on this GPU (torch, cupy, ...) as a DeviceArray, without a copy.

        Args:
            obj: a C-contiguous array with __cuda_array_interface__; the result keeps a reference to it.
            stream: waits for the stream that writes the array's content; None: the host waits.

        Raises:
            EngineError: for anything else, and for memory of another device.
        """
        driver = self._open()
        array = read_cuda_array_interface(obj)
        if not driver.can_access(array.address):
            raise EngineError(f"{type(obj).__name__}: its data is not in the memory of {self.name}")
        if array.stream is not None:
            if self._foreign_event is None:
                self._foreign_event = self.event()
            driver.wait_foreign_stream(array.stream, stream and stream.value, self._foreign_event.value)
        return DeviceArray(array.address, array.shape, array.dtype, obj)

    def copy(
        self, dst: HostBuffer | DeviceBuffer | DeviceArray, src: HostBuffer | DeviceBuffer | DeviceArray, stream: Stream
    ) -> None:
        """Enqueue a copy of all of `src` to all of `dst`; leave both alone until `stream` has done it."""
        driver = self._open()
        for end in (dst, src):
            if not isinstance(end, _ARRAYS):
                raise EngineError(f"copy: wanted a HostBuffer, DeviceBuffer or DeviceArray, got {type(end).__name__}")
        if dst.nbytes != src.nbytes:
            raise EngineError(f"copy: {src.nbytes} bytes do not fit {dst.nbytes}: copy a view of the larger one")
        if isinstance(src, HostBuffer):
            if isinstance(dst, HostBuffer):
                raise EngineError("copy: both are in host memory: copy their arrays")
            driver.copy_host_to_device(dst.address, src.address, src.nbytes, stream.value)
        elif isinstance(dst, HostBuffer):
            driver.copy_device_to_host(dst.address, src.address, src.nbytes, stream.value)
        else:
            driver.copy_device_to_device(dst.address, src.address, src.nbytes, stream.value)

    def clear(self, dst: DeviceBuffer | DeviceArray, stream: Stream) -> None:
        """Enqueue zeros for all of `dst`; leave it alone until `stream` has done it."""
        if not isinstance(dst, DeviceBuffer | DeviceArray):
            raise EngineError(f"clear: wanted a DeviceBuffer or DeviceArray, got {type(dst).__name__}")
        self._open().fill_zeros(dst.address, dst.nbytes, stream.value)

    def synchronize(self) -> None:
        """Block the host until all work in its streams is done.

        It does not wait for the whole context: that would invalidate a capture of another thread in the same context.
        """
        self._open()
        for stream in self._streams():
            stream.synchronize()

    def close(self) -> None:
        """Wait for its work, close everything that it created and release the context. May be called twice.

        After a failure of the work everything is closed nevertheless, and the first error is raised at the end. Views
        of pinned memory stay valid, and keep the context alive.
        """
        driver, self._driver = self._driver, None
        if driver is None:
            return
        errors: list[EngineError] = []
        waits = [stream.synchronize for stream in self._streams()]
        for step in (*waits, *(each.close for each in list(self._resources)), driver.close):
            try:
                step()
            except EngineError as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def __enter__(self) -> Gpu:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            self.close()
        except EngineError:
            if kind is None:  # else an earlier exception is on its way
                raise

    def _streams(self) -> list[Stream]:
        return [each for each in self._resources if isinstance(each, Stream) and not each.is_closed]

    def _open(self) -> Driver:
        if self._driver is None:
            raise closed_error("Gpu")
        return self._driver

    def _register(self, resource: _Resource) -> _Resource:
        self._resources.add(resource)
        return resource
