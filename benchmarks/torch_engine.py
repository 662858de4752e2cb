"""An engine made of torch, in TensorRT's place: for GPUs that no TensorRT runs on, and for made-up ones.

It is a TrtEngine to the pipeline, whose streams, captures, buckets and pinned memory are the real ones; contexts are
TrtContext's, with all their checks. Only what TensorRT's own objects do is torch's. It computes in float32, whatever
the bundle's graphs are in: each runs in the form that ONNX Runtime is given on a CPU.
"""

from __future__ import annotations

import warnings
from contextlib import ExitStack
from functools import cache
from weakref import WeakSet

import numpy as np
import onnx
import torch

from nanoseg.backends.engine import TensorSpec
from nanoseg.backends.tensorrt.context import TrtContext
from nanoseg.backends.tensorrt.engine import TrtEngine
from nanoseg.backends.tensorrt.log import ErrorLog
from nanoseg.backends.tensorrt.pipeline.pipeline import TrtPipeline
from nanoseg.engines.recipe import read_recipe
from nanoseg.onnx_graphs.deploy.float32 import float32_graph
from torch_graph import TorchGraph, Weights


class TorchEngine(TrtEngine):
    """One ONNX file of float32, with the profile that a recipe gives it."""

    memory_bytes = 0  # torch has memory of its own

    def __init__(self, gpu, graph: bytes, name: str, recipe: str, runner) -> None:
        self.name, self.device, self._gpu, self.runner = name, gpu.name, gpu, runner
        self._contexts = WeakSet()
        self._engine = onnx.load_from_string(graph)
        self.weights = Weights(self._engine)
        named = {each.name for each in self._engine.graph.initializer}
        del self._engine.graph.initializer[:]
        self.sides = {}
        self.inputs, self.outputs = (
            {each.name: self._told(each) for each in values if each.name not in named}
            for values in (self._engine.graph.input, self._engine.graph.output)
        )
        dimensions = read_recipe(recipe).dimensions
        self._ends = {
            name: [
                tuple(getattr(dimensions[side], end) if isinstance(side, str) else side for side in self.sides[name])
                for end in ("min", "opt", "max")
            ]
            for name in self.inputs
        }

    def _told(self, value) -> TensorSpec:
        """What a tensor is; a side that varies is its name in `sides`."""
        told = value.type.tensor_type
        sides = [side.dim_param or side.dim_value for side in told.shape.dim]
        self.sides[value.name] = sides
        shape = tuple(None if isinstance(side, str) else side for side in sides)
        return TensorSpec(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(told.elem_type)), shape)

    @property
    def model(self) -> onnx.ModelProto:
        return self._engine

    def context(self, memory) -> TrtContext:
        self._check_open()
        context = TrtContext(self, lambda: Run(self), None, ErrorLog())
        self._contexts.add(context)
        return context

    def _profile(self, tensor):
        self._check_open()
        return self._ends[tensor]


class Run:
    """What TrtContext asks of IExecutionContext."""

    def __init__(self, engine: TorchEngine) -> None:
        self._engine, self._shapes, self._addresses = engine, {}, {}
        self._graph: TorchGraph | None = None

    def set_input_shape(self, name, sides):
        self._shapes[name], self._graph = sides, None
        return True

    def get_tensor_shape(self, name):
        known = {}
        for given, sides in self._shapes.items():
            known.update(zip(self._engine.sides[given], sides, strict=True))
        return [known.get(side, -1) if isinstance(side, str) else side for side in self._engine.sides[name]]

    def set_tensor_address(self, name, address):
        self._addresses[name] = address
        return True

    def execute_async_v3(self, handle):
        engine = self._engine
        if self._graph is None:
            self._graph = TorchGraph(engine.model, engine.weights, engine.runner.device)
        specs = {**engine.inputs, **engine.outputs}
        places = {
            name: (self._addresses[name], self._shapes.get(name) or tuple(self.get_tensor_shape(name)), spec.dtype)
            for name, spec in specs.items()
        }
        inputs, outputs, graph = list(engine.inputs), list(engine.outputs), self._graph

        def work(tensor):
            made = graph({name: tensor(*places[name]) for name in inputs})
            for name in outputs:
                tensor(*places[name]).copy_(made[name])

        engine.runner.give(handle, work, *([places[name] for name in names] for names in (inputs, outputs)))
        return True


class CudaRunner:
    """Work on a stream of a real GPU, given to it by torch."""

    device = "cuda"

    def __init__(self) -> None:
        self._tensors, self._streams = cache(self._tensor), cache(torch.cuda.ExternalStream)
        torch.cuda.init()
        torch.backends.cudnn.deterministic = True  # the same frame is answered by the same bits
        with warnings.catch_warnings():  # some releases want these to be called otherwise
            warnings.simplefilter("ignore")
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False  # as close as can be

    def give(self, handle, work, reads, writes) -> None:
        with torch.cuda.stream(self._streams(handle)), torch.inference_mode():
            work(self._tensors)

    @staticmethod
    def _tensor(address, shape, dtype):
        told = {"shape": shape, "typestr": np.dtype(dtype).str, "data": (address, False), "version": 3}
        return torch.as_tensor(type("Place", (), {"__cuda_array_interface__": told})(), device="cuda")


class FakeRunner:
    """The same on a made-up GPU, by torch on the host."""

    device = "cpu"

    def __init__(self, cuda) -> None:
        self._cuda = cuda

    def give(self, handle, work, reads, writes) -> None:
        def tensor(window, place):
            array = window.array(*place)  # what is only read may not be written to, which no tensor can tell
            return torch.from_numpy(array if array.flags.writeable else array.copy())

        def run(window):
            with torch.inference_mode():
                work(lambda *place: tensor(window, place))

        sizes = [
            [(at, int(np.prod(shape)) * np.dtype(dtype).itemsize) for at, shape, dtype in some]
            for some in (reads, writes)
        ]
        self._cuda.enqueue(handle, run, *sizes)


def open_torch_pipeline(bundle, gpu, runner) -> TrtPipeline:
    """The pipeline over a bundle's graphs, run by torch; the GPU is closed with it."""
    with ExitStack() as stack:
        stack.enter_context(gpu)
        engines = {}
        for name, graph in bundle.graphs.items():
            # All of them, not those alone that are reduced: prepare, which is float32, gives what the encoder takes.
            engines[name] = TorchEngine(gpu, float32_graph(graph.path), graph.file, name, runner)
        pipeline = TrtPipeline(bundle, gpu, engines, f"{gpu.name} with torch {torch.__version__}")
        stack.pop_all()  # it is the pipeline's now
    return pipeline
