"""A TrtEngine that torch runs: for GPUs that no TensorRT supports, and for the fake GPUs of the tests.

See onnx_engine.py. It computes in float32, whatever precision the bundle's graphs have: each graph is
converted to float32 as for ONNX Runtime on a CPU.
"""

from __future__ import annotations

import warnings
from contextlib import ExitStack
from functools import cache

import numpy as np
import onnx
import torch

from nanoseg.backends.tensorrt.context import TrtContext
from nanoseg.backends.tensorrt.log import ErrorLog
from nanoseg.backends.tensorrt.pipeline.pipeline import TrtPipeline
from nanoseg.onnx_graphs.deploy.float32 import float32_graph
from onnx_engine import OnnxEngine
from torch_graph import TorchGraph, Weights


class TorchEngine(OnnxEngine):
    """An engine of one float32 ONNX file; torch allocates its own memory, and `runner` enqueues its work."""

    def __init__(self, gpu, graph: bytes, name: str, recipe: str, runner) -> None:
        super().__init__(gpu, graph, name, recipe)
        self.runner, self.weights = runner, Weights(self._engine)
        del self._engine.graph.initializer[:]

    @property
    def model(self) -> onnx.ModelProto:
        return self._engine

    def _new_context(self, memory) -> TrtContext:
        context = TrtContext(self, lambda: TorchContext(self), memory, ErrorLog())
        self._contexts.add(context)
        return context


class TorchContext:
    """The functions of IExecutionContext that TrtContext calls."""

    def __init__(self, engine: TorchEngine) -> None:
        self._engine, self._shapes, self._addresses = engine, {}, {}
        self._graph: TorchGraph | None = None

    def update_device_memory_size_for_shapes(self):
        return 0

    def set_input_shape(self, name, shape):
        self._shapes[name], self._graph = shape, None
        return True

    def get_tensor_shape(self, name):
        return self._engine.tensor_shape(name, self._shapes)

    def set_tensor_address(self, name, address):
        self._addresses[name] = address
        return True

    def is_stream_capturable(self, handle):
        if refusal := self._engine.runner.capture_refusal:
            raise RuntimeError(refusal)  # which TrtContext reports
        return True

    def execute_async_v3(self, handle):
        engine = self._engine
        if self._graph is None:
            self._graph = TorchGraph(engine.model, engine.weights, engine.runner.device)
        specs = {**engine.inputs, **engine.outputs}
        bindings = {
            name: (self._addresses[name], self._shapes.get(name) or tuple(self.get_tensor_shape(name)), spec.dtype)
            for name, spec in specs.items()
        }
        inputs, outputs, graph = list(engine.inputs), list(engine.outputs), self._graph

        def work(tensor):
            results = graph({name: tensor(*bindings[name]) for name in inputs})
            for name in outputs:
                tensor(*bindings[name]).copy_(results[name])

        engine.runner.enqueue(handle, work, *([bindings[name] for name in names] for names in (inputs, outputs)))
        return True


class CudaRunner:
    """Enqueues work on a stream of a real GPU through torch."""

    device = "cuda"

    def __init__(self, capture_refusal: str = "") -> None:
        """`capture_refusal` is the reason why its work must not be captured in a CUDA graph, if there is one."""
        self.capture_refusal = capture_refusal
        self._tensors, self._streams = cache(self._tensor), cache(torch.cuda.ExternalStream)
        torch.cuda.init()
        torch.backends.cudnn.deterministic = True  # the same frame gives the same bits
        with warnings.catch_warnings():  # some releases deprecate these
            warnings.simplefilter("ignore")
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False  # as close as can be

    def enqueue(self, handle, work, reads, writes) -> None:
        """Run `work(tensor)` on a stream; `tensor(address, shape, dtype)` returns the tensor at an address.

        `reads` and `writes` list the (address, shape, dtype) that it accesses.
        """
        with torch.cuda.stream(self._streams(handle)), torch.inference_mode():
            work(self._tensors)

    @staticmethod
    def _tensor(address, shape, dtype):
        interface = {"shape": shape, "typestr": np.dtype(dtype).str, "data": (address, False), "version": 3}
        return torch.as_tensor(type("Array", (), {"__cuda_array_interface__": interface})(), device="cuda")


def open_torch_pipeline(bundle, gpu, runner) -> TrtPipeline:
    """Open a pipeline over a bundle's graphs that torch runs; the GPU is closed with it."""
    with ExitStack() as stack:
        stack.enter_context(gpu)
        engines = {}
        for name, graph in bundle.graphs.items():
            # All of them, not only the reduced ones: prepare, which is float32, returns the encoder's precision.
            engines[name] = TorchEngine(gpu, float32_graph(graph.built.path), graph.built.file, name, runner)
        pipeline = TrtPipeline(bundle, gpu, engines, f"{gpu.name} with torch {torch.__version__}")
        stack.pop_all()  # it is the pipeline's now
    return pipeline
