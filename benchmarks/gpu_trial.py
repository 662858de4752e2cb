"""Find what computes on this GPU: each TensorRT library, and torch, runs a small computation that is then verified.

That a library can be loaded proves nothing: TensorRT for RTX supports no data centre GPU since Ampere, the lean runtime
has no builder, and a package may be broken.
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
from nanoseg.backends.find_device import find_device
from nanoseg.backends.tensorrt.build.engine import build_engine
from nanoseg.backends.tensorrt.engine import TrtEngine
from nanoseg.backends.tensorrt.int8_conv_graph import CHANNELS, SIDE_PX, W_SCALE, X_SCALE, int8_conv_graph, int8_weights
from nanoseg.doctor.machine import Machine
from nanoseg.engines import Kind
from nanoseg.engines.device import LIBRARIES
from nanoseg.engines.recipe import read_recipe
from nanoseg.errors import EngineError, NanosegError, one_line

BUILD_S = 300.0  # a slow board measures for minutes, where it measures at all
SHAPE = (1, CHANNELS, SIDE_PX, SIDE_PX)


def find_tensorrt() -> tuple[Kind | None, dict[str, str]]:
    """Return the first kind of TensorRT that computes here, if any, and the reason of each that does not."""
    refused: dict[str, str] = {}
    for kind in LIBRARIES:
        reason = try_in_subprocess(kind)
        if not reason:
            return kind, refused
        refused[kind] = reason
    return None, refused


def try_in_subprocess(kind: Kind) -> str:
    """Run refusal() in a process of its own: a library may crash its process, and wants no other TensorRT in it."""
    module = LIBRARIES[kind].module
    if module not in sys.modules and find_spec(module) is None:
        return "not installed"
    result = Machine().python(str(Path(__file__).resolve()), kind, timeout_s=BUILD_S)
    return str(result["error"] if "error" in result else result["reason"])


def refusal(kind: Kind) -> str:
    """Return why a TensorRT does not build and run a convolution on this GPU; empty where it does."""
    try:
        device, reason = find_device(kind)
        if device is None:
            return reason
        if not LIBRARIES[kind].builds:
            return "it builds no engines"
        api = importlib.import_module(LIBRARIES[kind].module)
        rng = np.random.default_rng(1)
        x = rng.integers(-128, 128, SHAPE).astype(np.float32) * np.float32(X_SCALE)
        found, wanted = run(api, build(api), x), convolve(x)
        difference = float(np.abs(found - wanted).max())
        return "" if difference <= 1e-3 * np.abs(wanted).max() else f"it computes wrong results: {difference:.3g} off"
    except Exception as error:  # pybind raises what it likes
        return one_line(error)


def build(api: Any) -> bytes:
    """Build the convolution as `nanoseg build` does: with INT8 weights where they build, else expanded."""
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
    """Run the engine on `x` on the GPU; returns its output."""
    with open_gpu() as gpu, TrtEngine(api, gpu, plan, "a convolution") as engine:
        stream = gpu.stream()
        memory = gpu.device_buffer(engine.memory_bytes) if engine.memory_bytes else None
        pinned = {name: gpu.host_buffer(SHAPE, np.float32) for name in ("x", "y")}
        device_arrays = {name: gpu.device_buffer(x.nbytes).view(SHAPE, np.float32) for name in ("x", "y")}
        pinned["x"].array[...], pinned["y"].array[...] = x, np.nan
        with engine.context(memory) as context:
            for name, array in device_arrays.items():
                context.bind(name, array)
            gpu.copy(device_arrays["x"], pinned["x"], stream)
            context.enqueue(stream)
            gpu.copy(pinned["y"], device_arrays["y"], stream)
            stream.synchronize()
        result: np.ndarray = pinned["y"].array.copy()
        return result


def convolve(x: np.ndarray) -> np.ndarray:
    """Compute the same by numpy, in integers until the last step."""
    quantized = np.clip(np.rint(x / X_SCALE), -128, 127).astype(np.int64)
    padded = np.pad(quantized, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    sums: np.ndarray = np.einsum("nchwij,ocij->nohw", windows, int8_weights().astype(np.int64))
    return sums * (X_SCALE * W_SCALE)


def torch_refusal() -> str:
    """Return why torch does not compute on this GPU; empty where it does."""
    try:
        import torch

        if not torch.cuda.is_available():
            return "torch sees no GPU"
        return "" if float(torch.ones(3, device="cuda").sum()) == 3 else "torch computes wrong results"
    except ModuleNotFoundError as error:
        return f'{error.name} is not installed: pip install "nanoseg[export]"'
    except Exception as error:  # a missing system library is an OSError, an error of CUDA a RuntimeError
        return f"torch does not start: {one_line(error)}"


if __name__ == "__main__":
    print(f"\n{json.dumps({'reason': refusal(sys.argv[1])})}", flush=True)  # type: ignore[arg-type]
