"""An engine made of torch, in TensorRT's place: for GPUs that no TensorRT runs on, and for made-up ones.

It is a TrtEngine to the chain, whose streams, captures, buckets and pinned memory are the real ones; contexts are
TrtContext's, with all their checks. Only what TensorRT's own objects do is torch's.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from weakref import WeakSet

import numpy as np
import onnx
import torch

from nanoseg.backends.trt.context import TrtContext
from nanoseg.backends.trt.engine import TrtEngine
from nanoseg.backends.trt.log import Words
from nanoseg.backends.trt_chain.chain import TrtChain
from nanoseg.onnx_tensors import read_tensors
from nanoseg.recipes import read_recipe
from tests.torch_graph import TorchGraph, Weights


class TorchEngine(TrtEngine):
    """One ONNX file, with the profile that its recipe gives it."""

    memory_bytes = 0  # torch has memory of its own

    def __init__(self, gpu, graph: Path, recipe: str, runner) -> None:
        self.name, self.device, self._gpu = graph.name, gpu.name, gpu
        self.inputs, self.outputs = read_tensors(graph)
        self._contexts = WeakSet()
        self._engine, weights = _read(graph)
        self.runner, self.weights = runner, weights
        dimensions = read_recipe(recipe).dimensions
        values = [*self._engine.graph.input, *self._engine.graph.output]
        self.sides = {
            each.name: [side.dim_param or side.dim_value for side in each.type.tensor_type.shape.dim] for each in values
        }
        self._ends = {
            name: [
                tuple(getattr(dimensions[s], end) if s in dimensions else s for s in sides)
                for end in ("min", "opt", "max")
            ]
            for name, sides in self.sides.items()
            if name in self.inputs
        }

    @property
    def model(self) -> onnx.ModelProto:
        return self._engine

    def context(self, memory) -> TrtContext:
        self._check_open()
        context = TrtContext(self, lambda: Run(self), None, Words())
        self._contexts.add(context)
        return context

    def _profile(self, tensor):
        self._check_open()
        return self._ends[tensor]


class Run:
    """What TrtContext asks of IExecutionContext."""

    def __init__(self, engine: TorchEngine) -> None:
        self._engine, self._shapes, self._addresses = engine, {}, {}
        self._graph = None

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


def open_torch_chain(bundle, gpu, runner) -> TrtChain:
    """The chain over a bundle's graphs, run by torch; the GPU is closed with it."""
    engines = {name: TorchEngine(gpu, graph.path, name, runner) for name, graph in bundle.graphs.items()}
    return TrtChain(bundle, gpu, engines, f"{gpu.name} with torch {torch.__version__}")


def _read(path: Path):
    model = onnx.load(path)
    weights = Weights(model)
    del model.graph.initializer[:]
    return model, weights
