"""What computes on this GPU: each TensorRT, and torch, is let do a little, and what it gives is looked at.

That a library can be loaded says nothing: TensorRT for RTX knows no GPU of a data centre since Ampere, the lean runtime
builds nothing, and a package may be broken.
"""

from __future__ import annotations

import importlib
import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from nanoseg.backends.cuda import open_gpu
from nanoseg.backends.device import LIBRARIES, look_for_device
from nanoseg.backends.tensorrt.build.engine import build_engine
from nanoseg.backends.tensorrt.conv_graph import CHANNELS, SIDE_PX, W_SCALE, X_SCALE, int8_conv_graph, int8_weights
from nanoseg.backends.tensorrt.engine import TrtEngine
from nanoseg.doctor.machine import Machine
from nanoseg.engines import Kind
from nanoseg.engines.recipe import read_recipe
from nanoseg.errors import EngineError, NanosegError, one_line

BUILD_S = 300.0  # a slow board measures for minutes, where it measures at all
SHAPE = (1, CHANNELS, SIDE_PX, SIDE_PX)


def find_tensorrt() -> tuple[Kind | None, dict[str, str]]:
    """The first TensorRT that computes here, if any; and why not, of each one that was tried in vain."""
    refused: dict[str, str] = {}
    for kind in LIBRARIES:
        why = asked(kind)
        if not why:
            return kind, refused
        refused[kind] = why
    return None, refused


def asked(kind: Kind) -> str:
    """refusal() of a process of its own: a library may bring its process down, and one process wants one TensorRT."""
    if kind not in sys.modules and find_spec(kind) is None:
        return "not installed"
    told = Machine().python(str(Path(__file__).resolve()), kind, timeout_s=BUILD_S)
    return str(told["error"] if "error" in told else told["why"])


def refusal(kind: Kind) -> str:
    """Why a TensorRT does not build and run a convolution on this GPU; empty where it does."""
    try:
        device, why = look_for_device(kind)
        if device is None:
            return why
        api = importlib.import_module(kind)
        if not hasattr(api, "Builder"):
            return "it builds no engines"
        rng = np.random.default_rng(1)
        x = rng.integers(-128, 128, SHAPE).astype(np.float32) * np.float32(X_SCALE)
        found, wanted = run(api, build(api), x), convolved(x)
        apart = float(np.abs(found - wanted).max())
        return "" if apart <= 1e-3 * np.abs(wanted).max() else f"it computes something else: {apart:.3g} apart"
    except Exception as error:  # pybind raises what it likes
        return one_line(error)


def build(api: Any) -> bytes:
    """The convolution as `nanoseg build` would have it: with weights in INT8 where they build, else expanded."""
    graph, recipe = int8_conv_graph(), read_recipe("detect")
    try:
        return build_engine(api, graph, recipe, name="a convolution").plan
    except EngineError as error:
        try:
            import onnx

            from nanoseg.onnx_graphs.int8.expand_weights import expand_int8_weights
        except (ImportError, NanosegError):
            raise error from None
        expanded: bytes = expand_int8_weights(onnx.load_from_string(graph)).SerializeToString()
        return build_engine(api, expanded, recipe, name="a convolution").plan


def run(api: Any, plan: bytes, x: np.ndarray) -> np.ndarray:
    """What the engine makes of `x` on the GPU."""
    with open_gpu() as gpu, TrtEngine(api, gpu, plan, "a convolution") as engine:
        stream = gpu.stream()
        memory = gpu.device(engine.memory_bytes) if engine.memory_bytes else None
        pinned = {name: gpu.host(SHAPE, np.float32) for name in ("x", "y")}
        there = {name: gpu.device(x.nbytes).view(SHAPE, np.float32) for name in ("x", "y")}
        pinned["x"].array[...], pinned["y"].array[...] = x, np.nan
        with engine.context(memory) as context:
            for name, place in there.items():
                context.bind(name, place)
            gpu.copy(there["x"], pinned["x"], stream)
            context.enqueue(stream)
            gpu.copy(pinned["y"], there["y"], stream)
            stream.synchronize()
        return pinned["y"].array.copy()


def convolved(x: np.ndarray) -> np.ndarray:
    """The same by numpy: whole numbers, until the end."""
    quantized = np.clip(np.rint(x / X_SCALE), -128, 127).astype(np.int64)
    padded = np.pad(quantized, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    return np.einsum("nchwij,ocij->nohw", windows, int8_weights().astype(np.int64)) * (X_SCALE * W_SCALE)


def torch_refusal() -> str:
    """Why torch does not compute on this GPU; empty where it does."""
    try:
        import torch

        if not torch.cuda.is_available():
            return "torch sees no GPU"
        return "" if float(torch.ones(3, device="cuda").sum()) == 3 else "torch computes something else"
    except ModuleNotFoundError as error:
        return f'{error.name} is not installed: pip install "nanoseg[export]"'
    except Exception as error:  # what of the system is missing is an OSError, and what CUDA says a RuntimeError
        return f"torch does not start: {one_line(error)}"


if __name__ == "__main__":
    print(f"\n{json.dumps({'why': refusal(sys.argv[1])})}", flush=True)  # type: ignore[arg-type]
