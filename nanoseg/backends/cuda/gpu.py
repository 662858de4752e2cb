"""A GPU through CUDA's driver: memory, streams, events and captured graphs, in a context that others may share."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, TypeVar
from weakref import WeakSet

from numpy.typing import DTypeLike

from nanoseg.backends.cuda.bindings import BindingsDriver
from nanoseg.backends.cuda.calls import CudaError
from nanoseg.backends.cuda.driver import Driver
from nanoseg.backends.cuda.memory import DeviceArray, DeviceBuffer, HostBuffer
from nanoseg.backends.cuda.owned import Owned, closed
from nanoseg.backends.cuda.stream import Event, Stream
from nanoseg.backends.cuda.wrap import Wrapped, read_interface
from nanoseg.errors import DependencyError, EngineError, UsageError

__all__ = ["PROVIDERS", "Gpu", "open_gpu"]

PROVIDERS = ("auto", "cuda-bindings", "pycuda")
_Made = TypeVar("_Made", bound="Owned | HostBuffer")


def open_gpu(provider: str = "auto") -> Gpu:
    """The GPU whose context is current in this thread, else the first one; auto takes cuda-bindings where they load.

    Raises UsageError, DependencyError with the pip line, or EngineError without a driver or a GPU.
    """
    if provider not in PROVIDERS:
        raise UsageError(f"provider: wanted one of {', '.join(PROVIDERS)}, got {provider}")
    try:
        return Gpu(_driver(provider))
    except CudaError as error:
        if error.function == "cuInit":
            raise EngineError(f"no GPU that CUDA can use: cuInit answers {error.code}; see nanoseg doctor") from error
        raise


def _driver(provider: str) -> Driver:
    if provider != "pycuda":
        try:
            return BindingsDriver()
        except DependencyError:
            if provider != "auto" or find_spec("pycuda") is None:
                raise
    from nanoseg.backends.cuda.pycuda_driver import PycudaDriver

    return PycudaDriver()


class Gpu:
    """One GPU. What it makes is closed with it.

    Its functions that make something work in any thread. Before work is given to streams in a thread other than the
    one that opened it, make_current() is called there.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver: Driver | None = driver
        facts = driver.facts
        self.name = facts.board  # as engines are kept under: "Orin 8GB"
        self.compute_capability = facts.compute_capability
        self.integrated = facts.integrated  # host and device share their memory
        self.memory_bytes = facts.memory_bytes
        self.provider, self.graphs = driver.name, driver.graphs
        self._made: WeakSet[Owned | HostBuffer] = WeakSet()
        self._stranger: Event | None = None  # one event is enough: a wait is for what it recorded last

    def make_current(self) -> None:
        """Make its context the current one in this thread."""
        self._open().make_current()

    def free_bytes(self) -> int:
        """Device memory that nobody has taken; what the system has swapped out does not count."""
        return self._open().free_bytes()

    def host(self, shape: Sequence[int], dtype: DTypeLike, mapped: bool = False) -> HostBuffer:
        """A new array in pinned memory, not cleared; `mapped`: the GPU can also reach it where it lies."""
        return self._keep(HostBuffer.make(self._open(), shape, dtype, mapped))

    def device(self, nbytes: int) -> DeviceBuffer:
        """A new block of the GPU's memory, not cleared."""
        return self._keep(DeviceBuffer(self._open(), nbytes))

    def stream(self) -> Stream:
        """A new stream, which does not wait for the legacy default stream."""
        return self._keep(Stream(self._open(), self._keep))

    def event(self, timing: bool = False) -> Event:
        """A new event; with `timing` it can tell milliseconds, and costs a little more."""
        return self._keep(Event(self._open(), timing))

    def wrap(self, obj: Any, stream: Stream | None = None) -> DeviceArray:
        """An array that someone else made on this GPU (torch, cupy, ...), where it lies; it keeps `obj`.

        `obj` has __cuda_array_interface__ and is C-contiguous. What was still to be done to it is waited for: by
        `stream`, else here. Raises EngineError.
        """
        driver = self._open()
        wrapped: Wrapped = read_interface(obj)
        if not driver.is_here(wrapped.address):
            raise EngineError(f"{type(obj).__name__}: its data does not lie in the memory of {self.name}")
        if wrapped.stream is not None:
            if self._stranger is None:
                self._stranger = self.event()
            driver.wait_for_stranger(wrapped.stream, stream and stream.value, self._stranger.value)
        return DeviceArray(wrapped.address, wrapped.shape, wrapped.dtype, obj)

    def copy(
        self, dst: HostBuffer | DeviceBuffer | DeviceArray, src: HostBuffer | DeviceBuffer | DeviceArray, stream: Stream
    ) -> None:
        """Let `stream` copy all of `src` over all of `dst`. Returns at once: neither may be touched before a wait."""
        driver = self._open()
        for end in (dst, src):
            if not isinstance(end, HostBuffer | DeviceBuffer | DeviceArray):
                raise EngineError(f"copy: wanted a HostBuffer, DeviceBuffer or DeviceArray, got {type(end).__name__}")
        if dst.nbytes != src.nbytes:
            raise EngineError(f"copy: {src.nbytes} bytes do not fit {dst.nbytes}: take a view of the larger one")
        if isinstance(src, HostBuffer):
            if isinstance(dst, HostBuffer):
                raise EngineError("copy: both lie on the host: copy their arrays")
            driver.copy_in(dst.address, src.address, src.nbytes, stream.value)
        elif isinstance(dst, HostBuffer):
            driver.copy_out(dst.address, src.address, src.nbytes, stream.value)
        else:
            driver.copy_across(dst.address, src.address, src.nbytes, stream.value)

    def clear(self, dst: DeviceBuffer | DeviceArray, stream: Stream) -> None:
        """Let `stream` write zeros over all of `dst`. Returns at once, as copy() does."""
        if not isinstance(dst, DeviceBuffer | DeviceArray):
            raise EngineError(f"clear: wanted a DeviceBuffer or DeviceArray, got {type(dst).__name__}")
        self._open().clear(dst.address, dst.nbytes, stream.value)

    def synchronize(self) -> None:
        """Wait here until all work in its streams is done.

        Those of others in the same context are left alone: to wait for the whole context would spoil whatever another
        thread is capturing in it.
        """
        self._open()
        for stream in self._streams():
            stream.synchronize()

    def close(self) -> None:
        """Wait for its work, close what it made and leave the context. May be called twice.

        Where work went wrong all is closed nevertheless, and the first error is raised at the end. Arrays of pinned
        memory that are still held stay good, and keep the context until they go.
        """
        driver, self._driver = self._driver, None
        if driver is None:
            return
        errors: list[EngineError] = []
        waits = [stream.synchronize for stream in self._streams()]
        for step in (*waits, *(each.close for each in list(self._made)), driver.close):
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
            if kind is None:  # else what went wrong before is the news
                raise

    def _streams(self) -> list[Stream]:
        return [each for each in self._made if isinstance(each, Stream) and not each.is_closed]

    def _open(self) -> Driver:
        if self._driver is None:
            raise closed("Gpu")
        return self._driver

    def _keep(self, made: _Made) -> _Made:
        self._made.add(made)
        return made
