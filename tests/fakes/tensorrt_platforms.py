"""The platforms that run engines in tests: fake GPUs with a fake TensorRT, and this machine's real ones."""

from __future__ import annotations

import importlib
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from nanoseg.backends.cuda import Gpu, open_gpu
from nanoseg.backends.find_device import find_device
from nanoseg.backends.tensorrt.build.engine import build_engine
from nanoseg.backends.tensorrt.engine import TrtEngine
from nanoseg.engines import Device
from nanoseg.engines.device import LIBRARIES
from nanoseg.engines.recipe import read_recipe
from tests.fakes.cuda import FakeCuda
from tests.fakes.tensorrt_runtime import fake_plan, fake_trt, profile_of

# (TensorRT, its version, cuda-bindings)
FAKES = {
    "10.3": ("tensorrt", "10.3.0", "12.9"),
    "11.4": ("tensorrt", "11.4.0", "13"),
    "rtx": ("tensorrt-rtx", "1.7.1", "13"),
}
PLATFORMS = [*FAKES, pytest.param("real", marks=pytest.mark.gpu)]
RECIPE = read_recipe("segment")  # prompts: 1 to 8


@dataclass
class Platform:
    """A GPU and a TensorRT, and functions that make plans for them."""

    api: Any
    gpu: Gpu
    cuda: FakeCuda | None  # None: the GPU is real

    def plan(self, graph: bytes) -> bytes:
        if self.cuda is None:
            return _built(self.api, graph)
        got = {"kind": self.api.fake.kind, "version": self.api.fake.version}
        return fake_plan(graph, profile_of(graph, RECIPE.dimensions), **got)

    def engine(self, graph: bytes, name: str = "x.engine") -> TrtEngine:
        return TrtEngine(self.api, self.gpu, self.plan(graph), name)


@cache
def _built(api: Any, graph: bytes) -> bytes:
    return build_engine(api, graph, RECIPE).plan


def real_device() -> Device:
    """Open this machine's GPU and TensorRT; skips where engines cannot be built and run."""
    from tests.backends.contract.backends import tensorrt_here

    kind, why = tensorrt_here()
    device = find_device(kind)[0] if kind else None
    if device is None:
        pytest.skip(f"no engine can run here: {why}")
    return device


@contextmanager
def open_platform(name, monkeypatch):
    """Open one of PLATFORMS; at the end of a fake one nothing may be left over. Skips where the real one cannot run."""
    if name == "real":
        device = real_device()
        with open_gpu() as gpu:
            yield Platform(importlib.import_module(LIBRARIES[device.kind].module), gpu, None)
        return
    kind, version, bindings = FAKES[name]
    cuda = FakeCuda(version=bindings).install(monkeypatch)
    api = fake_trt(cuda, version, kind)
    api.fake.install(monkeypatch)
    with open_gpu() as gpu:
        yield Platform(api, gpu, cuda)
    cuda.check()


def graph_of(inputs, outputs, nodes, constants=()):
    """Return an ONNX model's bytes; inputs and outputs are {name: (element type, dims)}."""
    values = [
        [helper.make_tensor_value_info(name, kind, sides) for name, (kind, sides) in each.items()]
        for each in (inputs, outputs)
    ]
    made = [helper.make_node(operator, takes, gives, **more) for operator, takes, gives, more in nodes]
    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in dict(constants).items()]
    graph = helper.make_graph(made, "x", *values, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=8).SerializeToString()


FLOAT, HALF, INT32, BYTE = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT32, TensorProto.UINT8
# y = x times k, a number a prompt; and their sum.
SCALE = graph_of(
    {"x": (FLOAT, ("prompts", 4)), "k": (FLOAT, ())},
    {"y": (FLOAT, ("prompts", 4)), "total": (FLOAT, ())},
    [("Mul", ["x", "k"], ["y"], {}), ("ReduceSum", ["y"], ["total"], {"keepdims": 0})],
)
# Of fixed shape, with the other types that our graphs have.
TYPES = graph_of(
    {"pixels": (BYTE, (1, 4, 4, 3)), "half": (HALF, (1, 4, 4, 3))},
    {"sum": (HALF, (1, 4, 4, 3)), "whole": (INT32, (1, 4, 4, 3))},
    [
        ("Cast", ["pixels"], ["wide"], {"to": HALF}),
        ("Add", ["wide", "half"], ["sum"], {}),
        ("Cast", ["sum"], ["whole"], {"to": INT32}),
    ],
)
