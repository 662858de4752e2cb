"""One execution context: the shapes and addresses that an engine runs with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nanoseg.backends.cuda.memory import DeviceArray, DeviceBuffer, HostBuffer
from nanoseg.backends.engine import TensorSpec
from nanoseg.backends.tensorrt.log import Words
from nanoseg.backends.tensorrt.rtx import can_capture
from nanoseg.errors import EngineError, one_line

if TYPE_CHECKING:
    from nanoseg.backends.cuda.stream import Stream
    from nanoseg.backends.tensorrt.engine import TrtEngine

Shape = tuple[int, ...]
ALIGNMENT = 256  # bytes, of all addresses: IExecutionContext::setTensorAddress


class TrtContext:
    """Runs an engine, from one thread at a time. TrtEngine.context() makes it.

    It keeps the arrays that are bound to it. A graph that was captured from it holds its addresses, so that the
    context is left as it is while the graph lives; after set_shape() it is enqueued once before it can be captured.
    """

    def __init__(
        self, engine: TrtEngine, create: Callable[[], Any], memory: DeviceBuffer | DeviceArray | None, words: Words
    ) -> None:
        self.name, self._engine = engine.name, engine
        self._memory, self._words = memory, words
        self._tensors: Mapping[str, TensorSpec] = {**engine.inputs, **engine.outputs}
        self._shapes: dict[str, Shape] = {}  # of inputs that vary
        self._bound: dict[str, DeviceArray | HostBuffer] = {}
        self._addresses: dict[str, int] = {}
        self._checked = False
        # TensorRT's own object is in no local variable: an error keeps the frames that it went through, and by them the
        # object would outlive close(), and perhaps the GPU.
        self._context: Any = None
        try:
            self._do(lambda: self._start(create, memory), "no context can be made")
        except EngineError:
            self._context = None
            raise

    def _start(self, create: Callable[[], Any], memory: DeviceBuffer | DeviceArray | None) -> bool:
        self._context = create()
        if self._context is None or memory is None:
            return self._context is not None
        before = self._words.mark()
        self._context.set_device_memory(memory.address, memory.nbytes)
        # It gives nothing back: that it spoke of an error is all that there is to know. What another thread was told
        # meanwhile is of another engine. Were a refusal missed nevertheless, enqueue() would fail.
        return not self._words.here(before)

    def set_shape(self, tensor: str, shape: Sequence[int]) -> None:
        """Say how large an input is from now on; raises EngineError for one that the engine was not built for."""
        self._check_open()
        sides, spec = as_shape(shape), self._engine.inputs.get(tensor)
        if spec is None:
            raise EngineError(f"{self.name}: has no input {tensor}; its inputs are {', '.join(self._engine.inputs)}")
        if sides == self._shapes.get(tensor, spec.shape):
            return
        least, most = self._engine.smallest(tensor), self._engine.largest(tensor)
        wanted = f"'{tensor}' wants {least} to {most}, got {sides}"
        self._do(lambda: self._context.set_input_shape(tensor, sides), wanted)
        self._shapes[tensor] = sides
        self._checked = False

    def shape(self, tensor: str) -> Shape:
        """The shape of an input, or that of an output which follows from those of the inputs.

        Raises EngineError while an input's is missing.
        """
        self._check_open()
        sides = self._shapes.get(tensor, self._spec(tensor).shape)
        if None in sides and tensor in self._engine.outputs:
            sides = tuple(int(side) if side >= 0 else None for side in self._context.get_tensor_shape(tensor))
        known = tuple(side for side in sides if side is not None)
        if len(known) < len(sides):
            missing = [name for name, each in self._engine.inputs.items() if None in self._shapes.get(name, each.shape)]
            why = f"the shape of {' and '.join(missing)} is not set" if missing else "it depends on what is fed"
            raise EngineError(f"{self.name}: the shape of '{tensor}' is not known: {why}")
        return known

    def bind(self, tensor: str, array: DeviceArray | HostBuffer) -> None:
        """Say where an input lies, or an output is to be put: on the GPU, or in pinned memory that is mapped.

        Raises EngineError for another dtype than the engine's, and an address that is no multiple of ALIGNMENT. The
        shape is compared when it is enqueued.
        """
        self._check_open()
        spec = self._spec(tensor)
        if array.dtype != spec.dtype or len(array.shape) != len(spec.shape):
            got = TensorSpec(array.dtype, array.shape)
            raise EngineError(f"{self.name}: '{tensor}' wants {spec}, got {got}")
        address = _address(array)
        if address % ALIGNMENT:
            raise EngineError(f"{self.name}: '{tensor}' wants an address that is a multiple of {ALIGNMENT}: copy it")
        self._checked = False
        if self._addresses.get(tensor) != address:
            self._bound.pop(tensor, None)
            self._addresses.pop(tensor, None)
            self._do(lambda: self._context.set_tensor_address(tensor, address), f"'{tensor}' takes no address")
            self._addresses[tensor] = address
        self._bound[tensor] = array

    def enqueue(self, stream: Stream) -> None:
        """Give one run to `stream`, and return; what is bound stays as it is until that is waited for.

        Raises EngineError for a tensor that is not bound, or whose array has another shape, and where TensorRT fails.
        """
        self._check_open()
        if not self._checked:
            self._check()
        for array in (*self._bound.values(), *([self._memory] if self._memory is not None else [])):
            _address(array)  # an error where it is closed
        handle = stream.handle
        self._do(lambda: self._context.execute_async_v3(handle), "it cannot be run")

    def capture_refusal(self, stream: Stream) -> str:
        """Why its runs cannot be captured in a graph, as far as TensorRT knows before; nothing where they can."""
        self._check_open()
        try:
            able = can_capture(self._context, stream.handle)
        except Exception as error:  # pybind raises what it likes
            return f"{self.name}: it cannot be captured: {one_line(error)}"
        return "" if able else f"{self.name}: TensorRT says that no graph can hold it"

    def close(self) -> None:
        """Let go of it and of what is bound to it; wait for its work before. May be called twice."""
        self._context = self._memory = None
        self._bound.clear()

    def __enter__(self) -> TrtContext:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check(self) -> None:
        for tensor in self._tensors:
            wanted, array = self.shape(tensor), self._bound.get(tensor)
            if array is None:
                raise EngineError(f"{self.name}: '{tensor}' is bound to nothing")
            if array.shape != wanted:
                raise EngineError(f"{self.name}: '{tensor}' is {wanted} now, and is bound to {array.shape}")
        self._checked = True

    def _do(self, call: Callable[[], bool], what: str) -> None:
        """What TensorRT answers False to, or raises, as our error."""
        before = self._words.mark()
        try:
            done = call()
        except Exception as error:  # pybind raises what it likes
            raise EngineError(f"{self.name}: {what}: {one_line(error)}") from error
        if not done:
            raise EngineError(f"{self.name}: {what}: {self._words.since(before)}")

    def _spec(self, tensor: str) -> TensorSpec:
        if tensor not in self._tensors:
            raise EngineError(f"{self.name}: has no tensor {tensor}; its tensors are {', '.join(self._tensors)}")
        return self._tensors[tensor]

    def _check_open(self) -> None:
        if self._context is None:
            raise EngineError(f"{self.name}: its context was closed; load the bundle again")


def as_shape(sides: Iterable[int]) -> Shape:
    """TensorRT's Dims, or whatever counts as a shape."""
    return tuple(int(side) for side in sides)


def _address(array: DeviceArray | DeviceBuffer | HostBuffer) -> int:
    """Where the GPU finds it; raises EngineError where it is closed."""
    return array.device_address if isinstance(array, HostBuffer) else array.address
