"""Engines on the GPU: weights, inputs and outputs, optimization profile, and the contexts that run them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import numpy as np

from nanoseg.backends.engine import TensorSpec
from nanoseg.backends.tensorrt.context import ALIGNMENT, Shape, TrtContext, to_shape
from nanoseg.backends.tensorrt.kernel_file import KernelFile
from nanoseg.backends.tensorrt.log import shared_logger
from nanoseg.backends.tensorrt.plan import PlanTensor, deserialize, load_library, read_tensors
from nanoseg.backends.tensorrt.rtx import context_settings, save_kernels
from nanoseg.errors import EngineError

if TYPE_CHECKING:
    from nanoseg.backends.cuda import Gpu
    from nanoseg.backends.cuda.memory import DeviceArray, DeviceBuffer
    from nanoseg.bundle import Bundle
    from nanoseg.engines import Device, EngineStore

_PROFILE = 0  # nanoseg builds engines with one profile
_DTYPES = ("float32", "float16", "int64", "int32", "int8", "uint8", "bool")  # TensorRT has some that numpy lacks


def load_engine(store: EngineStore, bundle: Bundle, name: str, device: Device, gpu: Gpu) -> TrtEngine:
    """Load the engine of one graph from the store onto `gpu`, the GPU of `device`.

    Raises:
        InvalidEngineError: where the store has none that is valid here, with the command that builds it.
        EngineError: where TensorRT cannot load it.
        DependencyError: without TensorRT.
    """
    plan, record = store.load(bundle, name, device)
    kernels = KernelFile(store.folder(bundle.name, device) / f"{name}.kernels", record.sha256)
    return TrtEngine(load_library((device.kind,)), gpu, plan, record.file, record.version_compatible, kernels)


class TrtEngine:
    """A deserialized engine in the GPU's memory; close it before the Gpu."""

    def __init__(
        self,
        api: Any,
        gpu: Gpu,
        plan: bytes,
        name: str,
        version_compatible: bool = False,
        kernels: KernelFile | None = None,
    ) -> None:
        """Deserialize a plan; see plan.deserialize() for the arguments. Raises EngineError.

        `kernels` is where TensorRT for RTX keeps those that it compiles; TensorRT's engines hold theirs.
        """
        self.name, self.device, self._kernels = name, gpu.name, kernels
        self._api, self._gpu = api, gpu
        self._contexts: WeakSet[TrtContext] = WeakSet()
        self._settings: Any = None  # shared by all contexts
        gpu.make_current()
        self._engine = deserialize(api, plan, name, version_compatible)
        try:
            tensors = [(each.name, self._spec(each), each.is_input) for each in read_tensors(api, self._engine)]
        except BaseException:
            self._engine = None  # the exception keeps this frame, and would keep the weights
            raise
        self.inputs: Mapping[str, TensorSpec] = {name: spec for name, spec, is_input in tensors if is_input}
        self.outputs: Mapping[str, TensorSpec] = {name: spec for name, spec, is_input in tensors if not is_input}
        self.memory_bytes = int(self._engine.device_memory_size_v2)  # of activations, for one context

    def __repr__(self) -> str:
        return f"TrtEngine({self.name!r}, {self.device!r})"

    def min_shape(self, tensor: str) -> Shape:
        """Return the minimum shape of an input."""
        return self._profile(tensor)[0]

    def max_shape(self, tensor: str) -> Shape:
        """Return the maximum shape of an input."""
        return self._profile(tensor)[2]

    def context(self, memory: DeviceBuffer | DeviceArray | None) -> TrtContext:
        """Create an execution context.

        Args:
            memory: device memory for its activations, at least `memory_bytes`; None where that is 0. Contexts that
                never run at the same time may share it. It must stay open as long as the context is used.
        """
        self._check_open()
        if memory is None and self.memory_bytes:
            raise EngineError(f"{self.name}: a context wants {self.memory_bytes} bytes for its activations, got none")
        if memory is not None and memory.nbytes < self.memory_bytes:
            wanted = f"wants {self.memory_bytes} bytes for its activations"
            raise EngineError(f"{self.name}: a context {wanted}, got {memory.nbytes}")
        if memory is not None and memory.address % ALIGNMENT:
            raise EngineError(f"{self.name}: the memory of a context starts at a multiple of {ALIGNMENT} bytes")
        return self._new_context(memory)

    def sized_context(
        self, shapes: Mapping[str, Shape], allocate: Callable[[int], DeviceBuffer | DeviceArray | None]
    ) -> TrtContext:
        """Create an execution context for these shapes alone, whose activations take less memory than `memory_bytes`.

        Args:
            shapes: Of the inputs that vary.
            allocate: As TrtContext.size_memory() takes it; the memory may be shared as that of context().
        """
        self._check_open()
        context = self._new_context(None)
        for tensor, shape in shapes.items():
            context.set_shape(tensor, shape)
        context.size_memory(allocate)
        return context

    def save_kernels(self) -> None:
        """Keep the kernels that were compiled so far; never raises."""
        if self._kernels is not None:
            save_kernels(self._api, self._settings, self._kernels)

    def close(self) -> None:
        """Close its contexts and free its weights; wait for its work before. May be called twice."""
        if self._engine is None:
            return
        try:
            self._gpu.make_current()
            self.save_kernels()  # those of frame sizes that came later
        finally:
            for context in self._contexts:
                context.close()
            self._settings = self._engine = None

    def __enter__(self) -> TrtEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _new_context(self, memory: DeviceBuffer | DeviceArray | None) -> TrtContext:
        self._gpu.make_current()
        if self._settings is None:
            self._settings = context_settings(self._api, self._engine, self._kernels)
        _, log = shared_logger(self._api)
        context = TrtContext(self, lambda: self._engine.create_execution_context(self._settings), memory, log)
        self._contexts.add(context)
        return context

    def _check_open(self) -> None:
        if self._engine is None:
            raise EngineError(f"{self.name}: it was closed; load the bundle again")

    def _profile(self, tensor: str) -> tuple[Shape, Shape, Shape]:
        """Return the minimum, optimum and maximum shape of an input."""
        self._check_open()
        spec = self.inputs.get(tensor)
        if spec is None:
            raise EngineError(f"{self.name}: has no input {tensor}; its inputs are {', '.join(self.inputs)}")
        fixed = tuple(dim for dim in spec.shape if dim is not None)
        if len(fixed) == len(spec.shape):
            return fixed, fixed, fixed
        minimum, optimum, maximum = self._engine.get_tensor_profile_shape(tensor, _PROFILE)
        return to_shape(minimum), to_shape(optimum), to_shape(maximum)

    def _spec(self, tensor: PlanTensor) -> TensorSpec:
        if self._engine.get_tensor_location(tensor.name) != self._api.TensorLocation.DEVICE:
            # Its address would be in host memory; no graph of nanoseg has such a tensor.
            raise EngineError(f"{self.name}: '{tensor.name}' is a shape tensor; such engines are not supported")
        if tensor.dtype not in _DTYPES:
            raise EngineError(f"{self.name}: '{tensor.name}' is {tensor.dtype}, wanted one of {', '.join(_DTYPES)}")
        return TensorSpec(np.dtype(tensor.dtype), tensor.shape)
