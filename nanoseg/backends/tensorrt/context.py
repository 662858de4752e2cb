"""Execution contexts: the shapes and addresses that an engine runs with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from nanoseg.backends.cuda.memory import DeviceArray, DeviceBuffer, HostBuffer
from nanoseg.backends.engine import TensorSpec
from nanoseg.backends.tensorrt.log import ErrorLog
from nanoseg.backends.tensorrt.rtx import can_capture
from nanoseg.errors import EngineError, one_line

if TYPE_CHECKING:
    from nanoseg.backends.cuda.stream import Stream

Shape = tuple[int, ...]
ALIGNMENT = 256  # bytes, of all addresses: IExecutionContext::setTensorAddress


class ContextOwner(Protocol):
    """The attributes of an engine that its contexts use."""

    name: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]

    def min_shape(self, tensor: str) -> Shape: ...
    def max_shape(self, tensor: str) -> Shape: ...


class TrtContext:
    """An execution context of an engine, used by one thread at a time; TrtEngine.context() creates it.

    It keeps a reference to the arrays that are bound to it. A CUDA graph captured from it uses its addresses, so the
    context must not change while the graph lives. After set_shape(), enqueue it once before a capture.
    """

    def __init__(
        self,
        engine: ContextOwner,
        create: Callable[[], Any],
        memory: DeviceBuffer | DeviceArray | None,
        log: ErrorLog,
    ) -> None:
        self.name, self._engine = engine.name, engine
        self._memory, self._log = memory, log
        self._tensors: Mapping[str, TensorSpec] = {**engine.inputs, **engine.outputs}
        self._shapes: dict[str, Shape] = {}  # of inputs with dynamic dimensions
        self._bound: dict[str, DeviceArray | HostBuffer] = {}
        self._addresses: dict[str, int] = {}
        self._checked = self._sized = False
        # TensorRT's own object is in no local variable: an exception keeps the frames that it passed through, and with
        # them the object would outlive close(), and perhaps the GPU.
        self._context: Any = None
        try:
            self._call(lambda: self._create(create, memory), "no context can be made")
        except EngineError:
            self._context = None
            raise

    def _create(self, create: Callable[[], Any], memory: DeviceBuffer | DeviceArray | None) -> bool:
        self._context = create()
        if self._context is None or memory is None:
            return self._context is not None
        return self._set_memory(memory)

    def _set_memory(self, memory: DeviceBuffer | DeviceArray) -> bool:
        mark = self._log.mark()
        self._context.set_device_memory(memory.address, memory.nbytes)
        # It returns nothing, so a logged error is the only sign of failure. Messages of other threads are about other
        # engines. If a failure were missed nevertheless, enqueue() would fail.
        return not self._log.own_messages(mark)

    def size_memory(self, allocate: Callable[[int], DeviceBuffer | DeviceArray | None]) -> None:
        """Take memory for the activations of the shapes that are set, which cannot be changed any more.

        Args:
            allocate: Returns device memory of at least so many bytes, or None where 0 are wanted.

        Raises:
            EngineError: Where the shape of an input is not set, and where TensorRT fails.
        """
        self._check_open()
        for tensor in self._engine.inputs:
            self.shape(tensor)
        nbytes = 0

        def measure() -> bool:
            nonlocal nbytes
            mark = self._log.mark()
            nbytes = int(self._context.update_device_memory_size_for_shapes())
            return not self._log.own_messages(mark)  # a failure returns 0, as do engines that want none

        self._call(measure, "the memory of its activations is not known")
        memory = allocate(nbytes)
        if memory is not None:
            if memory.nbytes < nbytes or memory.address % ALIGNMENT:
                raise EngineError(f"{self.name}: its activations want {nbytes} bytes, got {memory}")
            self._call(lambda: self._set_memory(memory), "its activations take no memory")
        self._memory, self._sized = memory, True

    def set_shape(self, tensor: str, shape: Sequence[int]) -> None:
        """Set the shape of an input; raises EngineError for a shape outside the engine's profile."""
        self._check_open()
        dims, spec = to_shape(shape), self._engine.inputs.get(tensor)
        if spec is None:
            raise EngineError(f"{self.name}: has no input {tensor}; its inputs are {', '.join(self._engine.inputs)}")
        if dims == self._shapes.get(tensor, spec.shape):
            return
        if self._sized:
            raise EngineError(f"{self.name}: its memory is that of '{tensor}' {self.shape(tensor)}, got {dims}")
        minimum, maximum = self._engine.min_shape(tensor), self._engine.max_shape(tensor)
        problem = f"'{tensor}' wants {minimum} to {maximum}, got {dims}"
        self._call(lambda: self._context.set_input_shape(tensor, dims), problem)
        self._shapes[tensor] = dims
        self._checked = False

    def shape(self, tensor: str) -> Shape:
        """Return the shape of an input, or of an output as it follows from the inputs' shapes.

        Raises EngineError while the shape of an input is not set.
        """
        self._check_open()
        dims = self._shapes.get(tensor, self._spec(tensor).shape)
        if None in dims and tensor in self._engine.outputs:
            dims = tuple(int(dim) if dim >= 0 else None for dim in self._context.get_tensor_shape(tensor))
        known = tuple(dim for dim in dims if dim is not None)
        if len(known) < len(dims):
            missing = [name for name, each in self._engine.inputs.items() if None in self._shapes.get(name, each.shape)]
            reason = f"the shape of {' and '.join(missing)} is not set" if missing else "it depends on the input values"
            raise EngineError(f"{self.name}: the shape of '{tensor}' is not known: {reason}")
        return known

    def bind(self, tensor: str, array: DeviceArray | HostBuffer) -> None:
        """Bind an input or output to an array in device memory, or in mapped pinned memory.

        Raises EngineError for another dtype than the engine's, and for an address that is no multiple of ALIGNMENT.
        enqueue() checks the shape.
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
            self._call(lambda: self._context.set_tensor_address(tensor, address), f"'{tensor}' takes no address")
            self._addresses[tensor] = address
        self._bound[tensor] = array

    def enqueue(self, stream: Stream) -> None:
        """Enqueue one run on `stream` and return at once; leave the bound arrays alone until the stream has done it.

        Raises EngineError for a tensor that is not bound, or bound to an array of another shape, and where TensorRT
        fails.
        """
        self._check_open()
        if not self._checked:
            self._check_bindings()
        for array in (*self._bound.values(), *([self._memory] if self._memory is not None else [])):
            _address(array)  # raises where it is closed
        handle = stream.handle
        self._call(lambda: self._context.execute_async_v3(handle), "it cannot be run")

    def capture_refusal(self, stream: Stream) -> str:
        """Return why TensorRT expects that its runs cannot be captured in a CUDA graph; empty where they may be."""
        self._check_open()
        try:
            capturable = can_capture(self._context, stream.handle)
        except Exception as error:  # pybind raises what it likes
            return f"{self.name}: it cannot be captured: {one_line(error)}"
        return "" if capturable else f"{self.name}: TensorRT reports that it cannot be captured"

    def close(self) -> None:
        """Free it and release the bound arrays; wait for its work before. May be called twice."""
        self._context = self._memory = None
        self._bound.clear()

    def __enter__(self) -> TrtContext:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_bindings(self) -> None:
        for tensor in self._tensors:
            wanted, array = self.shape(tensor), self._bound.get(tensor)
            if array is None:
                raise EngineError(f"{self.name}: '{tensor}' is bound to nothing")
            if array.shape != wanted:
                raise EngineError(f"{self.name}: '{tensor}' is {wanted} now, and is bound to {array.shape}")
        self._checked = True

    def _call(self, call: Callable[[], bool], problem: str) -> None:
        """Raise EngineError, beginning with `problem`, where TensorRT's function raises or returns False."""
        mark = self._log.mark()
        try:
            succeeded = call()
        except Exception as error:  # pybind raises what it likes
            raise EngineError(f"{self.name}: {problem}: {one_line(error)}") from error
        if not succeeded:
            raise EngineError(f"{self.name}: {problem}: {self._log.reason(mark)}")

    def _spec(self, tensor: str) -> TensorSpec:
        if tensor not in self._tensors:
            raise EngineError(f"{self.name}: has no tensor {tensor}; its tensors are {', '.join(self._tensors)}")
        return self._tensors[tensor]

    def _check_open(self) -> None:
        if self._context is None:
            raise EngineError(f"{self.name}: its context was closed; load the bundle again")


def to_shape(dims: Iterable[int]) -> Shape:
    """Return TensorRT's Dims, or any other sequence of dimensions, as a tuple."""
    return tuple(int(dim) for dim in dims)


def _address(array: DeviceArray | DeviceBuffer | HostBuffer) -> int:
    """Return its device address; raises EngineError where it is closed."""
    return array.device_address if isinstance(array, HostBuffer) else array.address
