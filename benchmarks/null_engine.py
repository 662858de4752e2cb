"""A TrtEngine that computes nothing on the stub driver of tests/stub_libcuda: for the host's part of a frame.

A context enqueues one recorded piece of work in place of TensorRT's kernels; a test or a benchmark may give a function
that is called when that work is done.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np

from nanoseg.backends.cuda import Gpu
from nanoseg.backends.tensorrt.context import Shape, TrtContext
from nanoseg.backends.tensorrt.log import ErrorLog
from nanoseg.backends.tensorrt.pipeline.pipeline import TrtPipeline
from nanoseg.bundle import Bundle
from onnx_engine import OnnxEngine

Arrays = Mapping[str, np.ndarray]
Compute = Callable[[str, Arrays, Arrays], None]  # of a graph's name, its inputs, and its outputs, which are written to
Binding = tuple[int, Shape, np.dtype]
_KERNEL = ctypes.CFUNCTYPE(None)
MEMORY_BYTES = 1 << 16  # of activations


class NullEngine(OnnxEngine):
    """An engine of one ONNX file; `compute` is called for each run, or nothing is."""

    memory_bytes = MEMORY_BYTES

    def __init__(self, gpu: Gpu, graph: bytes, name: str, recipe: str, compute: Compute | None = None) -> None:
        super().__init__(gpu, graph, name, recipe)
        self.recipe, self.compute = recipe, compute
        self.launch = ctypes.CDLL("libcuda.so.1").stub_launch
        self.kernels: list[Any] = []  # which graphs call as long as they live

    def _new_context(self, memory: Any) -> TrtContext:
        context = TrtContext(self, lambda: NullContext(self), memory, ErrorLog())
        self._contexts.add(context)
        return context


class NullContext:
    """The functions of IExecutionContext that TrtContext calls."""

    def __init__(self, engine: NullEngine) -> None:
        self._engine = engine
        self._shapes: dict[str, Shape] = {}
        self._addresses: dict[str, int] = {}
        self._memory = (0, 0)
        self._arguments: tuple[Any, ...] | None = None  # of the launch, as long as nothing changes

    def update_device_memory_size_for_shapes(self) -> int:
        return MEMORY_BYTES

    def set_device_memory(self, address: int, nbytes: int) -> None:
        self._memory, self._arguments = (address, nbytes), None

    def set_input_shape(self, name: str, shape: Shape) -> bool:
        self._shapes[name], self._arguments = shape, None
        return True

    def get_tensor_shape(self, name: str) -> list[int]:
        return self._engine.tensor_shape(name, self._shapes)

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name], self._arguments = address, None
        return True

    def execute_async_v3(self, handle: int) -> bool:
        if self._arguments is None:
            self._arguments = self._launch_arguments()
        return not self._engine.launch(ctypes.c_void_p(handle), *self._arguments)

    def _launch_arguments(self) -> tuple[Any, ...]:
        engine = self._engine
        inputs, outputs = (
            {name: (self._addresses[name], tuple(self.get_tensor_shape(name)), spec.dtype) for name, spec in specs}
            for specs in (engine.inputs.items(), engine.outputs.items())
        )
        spans = [
            (at, int(np.prod(shape)) * dtype.itemsize) for at, shape, dtype in (*inputs.values(), *outputs.values())
        ]
        spans.append(self._memory)
        compute, kernel = engine.compute, _KERNEL()
        if compute is not None:
            name = engine.recipe
            kernel = _KERNEL(lambda: compute(name, _arrays(inputs), _arrays(outputs)))
            engine.kernels.append(kernel)
        numbers = [number for span in spans for number in span]
        return kernel, len(inputs), len(outputs) + 1, (ctypes.c_uint64 * len(numbers))(*numbers)


def _arrays(bindings: Mapping[str, Binding]) -> dict[str, np.ndarray]:
    """Return the arrays at the addresses; on the stub driver the GPU's memory is the host's."""
    return {name: array_at(*binding) for name, binding in bindings.items()}


def array_at(address: int, shape: Shape, dtype: np.dtype) -> np.ndarray:
    """Return the array at an address of the stub driver, on its GPU or in pinned memory."""
    block: Any = (ctypes.c_char * (int(np.prod(shape)) * dtype.itemsize)).from_address(address)
    return np.frombuffer(block, dtype).reshape(shape)


def open_null_pipeline(bundle: Bundle, gpu: Gpu, compute: Compute | None = None) -> TrtPipeline:
    """Open a pipeline over a bundle's graphs on the stub driver; the GPU is closed with it."""
    with ExitStack() as stack:
        stack.enter_context(gpu)
        engines = {
            name: NullEngine(gpu, graph.built.path.read_bytes(), graph.built.file, name, compute)
            for name, graph in bundle.graphs.items()
        }
        pipeline = TrtPipeline(bundle, gpu, engines, f"{gpu.name}, a stub")
        stack.pop_all()  # they are the pipeline's now
    return pipeline
