"""What the GPU's buffers and streams stand on: one protocol, with cuda-bindings or pycuda behind it.

Handles of streams, events and graphs are the provider's own objects; addresses are plain integers.
"""

from __future__ import annotations

from typing import Any, Protocol

from nanoseg.backends.cuda.calls import CudaError
from nanoseg.backends.cuda.device import DeviceFacts

MEMORY_HINT = "close other programs (on a Jetson the desktop too: sudo init 3), or use fewer or smaller engines"
OUT_OF_MEMORY = "CUDA_ERROR_OUT_OF_MEMORY"


class Driver(Protocol):
    """One device, in one context; every function raises CudaError where the driver answers with an error.

    What makes or frees something works in any thread; the rest wants the context current in the calling one.
    """

    name: str
    graphs: bool  # whether it can capture
    facts: DeviceFacts

    def make_current(self) -> None: ...
    def free_bytes(self) -> int: ...
    def close(self) -> None: ...

    def new_device(self, nbytes: int) -> int: ...
    def free_device(self, address: int) -> None: ...
    def new_host(self, nbytes: int, mapped: bool) -> int: ...
    def free_host(self, address: int) -> None: ...
    def mapped_address(self, address: int) -> int:
        """Where the device reads what `new_host` gave with `mapped`."""

    def is_here(self, address: int) -> bool:
        """Whether this device can read the address."""

    def copy_in(self, device: int, host: int, nbytes: int, stream: Any) -> None: ...
    def copy_out(self, host: int, device: int, nbytes: int, stream: Any) -> None: ...
    def copy_across(self, to: int, device: int, nbytes: int, stream: Any) -> None: ...
    def clear(self, device: int, nbytes: int, stream: Any) -> None: ...

    def new_stream(self) -> Any: ...
    def free_stream(self, stream: Any) -> None: ...
    def handle(self, stream: Any) -> int:
        """The stream as a plain integer, as TensorRT and ONNX Runtime take it."""

    def synchronize_stream(self, stream: Any) -> None: ...
    def wait(self, stream: Any, event: Any) -> None:
        """Let the stream wait, and the host go on."""

    def wait_for_stranger(self, handle: int, stream: Any | None, event: Any) -> None:
        """Wait for a stream that someone else made: the host does, or `stream` by way of `event`."""

    def new_event(self, timing: bool) -> Any: ...
    def free_event(self, event: Any) -> None: ...
    def record(self, event: Any, stream: Any, external: bool) -> None:
        """`external`: inside a capture, the event can be waited for from outside."""

    def synchronize_event(self, event: Any) -> None: ...
    def done(self, event: Any) -> bool:
        """Whether what came before the event is done; asked without waiting."""

    def milliseconds(self, start: Any, end: Any) -> float: ...

    def begin_capture(self, stream: Any) -> None: ...
    def end_capture(self, stream: Any, keep: bool) -> Any:
        """The graph, ready to launch; None, and no error, where it is not to be kept."""

    def launch(self, graph: Any, stream: Any) -> None: ...
    def free_graph(self, graph: Any) -> None: ...


def out_of_memory(function: str, what: str, nbytes: int, free: int, total: int) -> CudaError:
    """The error of an allocation that does not fit, with what there is."""
    told = f"wanted {_size(nbytes)} of {what}, free are {_size(free)} of {_size(total)}; {MEMORY_HINT}"
    return CudaError(function, OUT_OF_MEMORY, told)


def _size(nbytes: int) -> str:
    return f"{nbytes / 1e9:.1f} GB" if nbytes >= 1e9 else f"{nbytes / 1e6:.1f} MB"
