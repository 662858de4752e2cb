"""Engines that stand in for TensorRT's: inputs, outputs and shapes of an ONNX graph, with the profile of a recipe.

The pipeline's streams, captures, buckets and pinned memory are the real ones, and so are TrtContext's checks; only
TensorRT's own objects are replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
from weakref import WeakSet

import numpy as np
import onnx

from nanoseg.backends.cuda import Gpu
from nanoseg.backends.engine import TensorSpec
from nanoseg.backends.tensorrt.context import Shape, TrtContext
from nanoseg.backends.tensorrt.engine import TrtEngine
from nanoseg.engines.recipe import read_recipe


class OnnxEngine(TrtEngine):
    """An engine of one ONNX file; a derived class runs it."""

    memory_bytes = 0

    def __init__(self, gpu: Gpu, graph: bytes, name: str, recipe: str) -> None:
        self.name, self.device, self._gpu = name, gpu.name, gpu
        self._contexts: WeakSet[TrtContext] = WeakSet()
        self._kernels = self._settings = None
        self._engine = onnx.load_from_string(graph)
        constants = {each.name for each in self._engine.graph.initializer}
        self.dims: dict[str, list[int | str]] = {}  # of each tensor: a number, or the name of a dynamic dimension
        self.inputs, self.outputs = (
            {each.name: self._spec_of(each) for each in values if each.name not in constants}
            for values in (self._engine.graph.input, self._engine.graph.output)
        )
        dimensions = read_recipe(recipe).dimensions
        self._profiles = {
            name: tuple(
                tuple(getattr(dimensions[dim], bound) if isinstance(dim, str) else dim for dim in self.dims[name])
                for bound in ("min", "opt", "max")
            )
            for name in self.inputs
        }

    def _spec_of(self, value: onnx.ValueInfoProto) -> TensorSpec:
        tensor = value.type.tensor_type
        self.dims[value.name] = [dim.dim_param or dim.dim_value for dim in tensor.shape.dim]
        shape = tuple(None if isinstance(dim, str) else dim for dim in self.dims[value.name])
        return TensorSpec(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)), shape)

    def tensor_shape(self, name: str, shapes: Mapping[str, Shape]) -> list[int]:
        """Return the shape of a tensor where inputs have these shapes; -1 for a dimension that is not known."""
        known: dict[int | str, int] = {}
        for each, shape in shapes.items():
            known.update(zip(self.dims[each], shape, strict=True))
        return [known.get(dim, -1) if isinstance(dim, str) else dim for dim in self.dims[name]]

    def _profile(self, tensor: str) -> tuple[Shape, Shape, Shape]:
        self._check_open()
        return self._profiles[tensor]  # type: ignore[return-value]
