"""Find what computes on this GPU: each TensorRT library, and torch, runs a small computation that is then verified.

That a library can be loaded proves nothing: TensorRT for RTX supports no data centre GPU since Ampere, the lean runtime
has no builder, and a package may be broken.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from nanoseg.backends.cuda import Gpu, open_gpu
from nanoseg.backends.find_device import find_device
from nanoseg.backends.tensorrt.build.engine import build_engine
from nanoseg.backends.tensorrt.engine import TrtEngine
from nanoseg.backends.tensorrt.int8_conv_graph import CHANNELS, SIDE_PX, W_SCALE, X_SCALE, int8_conv_graph, int8_weights
from nanoseg.doctor.machine import Machine
from nanoseg.engines import Kind
from nanoseg.engines.device import LIBRARIES
from nanoseg.engines.recipe import read_recipe
from nanoseg.errors import EngineError, NanosegError, one_line

TORCH_CAPTURE, CAPTURE_S = "torch-capture", 60.0
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


def torch_capture_refusal() -> str:
    """Return why torch's work must not be captured in a graph of ours, tried in a process of its own; else empty.

    Torch knows nothing of a capture that it did not begin, and a failed one may leave the GPU's context broken.
    """
    result = Machine().python(str(Path(__file__).resolve()), TORCH_CAPTURE, timeout_s=CAPTURE_S)
    return str(result["error"] if "error" in result else result["reason"])


def capture_refusal(gpu: Gpu, runner: Any) -> str:
    """Return why a capture of a convolution, a product, a sort and a softmax by torch is not what they compute."""
    import torch

    rng = np.random.default_rng(2)
    first, second = (rng.normal(size=SHAPE).astype(np.float32) for _ in range(2))
    kernel = rng.normal(size=(CHANNELS, CHANNELS, 3, 3)).astype(np.float32)
    weights = torch.from_numpy(kernel).to(runner.device)

    def compute(x: Any) -> Any:
        y = torch.nn.functional.conv2d(x, weights.to(x.device), padding=1).flatten(2)
        product = torch.softmax(y @ y.transpose(1, 2) / SIDE_PX**2, -1) @ y
        return torch.sort(product, dim=-1, stable=True).values.reshape(x.shape)

    try:
        stream = gpu.stream()
        pinned = gpu.host_buffer(SHAPE, np.float32)
        x, y = (gpu.device_buffer(first.nbytes).view(SHAPE, np.float32) for _ in range(2))
        bindings = [(array.address, SHAPE, np.dtype(np.float32)) for array in (x, y)]

        def work(tensor: Any) -> None:
            tensor(*bindings[1]).copy_(compute(tensor(*bindings[0])))

        def run(values: np.ndarray, enqueue: Callable[[], None]) -> np.ndarray:
            pinned.array[...] = values
            gpu.copy(x, pinned, stream)
            enqueue()
            gpu.copy(pinned, y, stream)
            stream.synchronize()
            result: np.ndarray = pinned.array.copy()
            return result

        def eager() -> None:
            runner.enqueue(stream.handle, work, bindings[:1], bindings[1:])

        wanted = run(second, eager)
        run(first, eager)
        with stream.capture() as captured:
            eager()
        found = run(second, lambda: captured.graph.launch(stream))
        difference = float(np.abs(found - wanted).max())
        return "" if difference <= 1e-4 * np.abs(wanted).max() else f"a capture computes {difference:.3g} off"
    except Exception as error:  # torch's are RuntimeErrors, ours EngineErrors
        return one_line(error)


def trial(name: str) -> str:
    """Return the reason of a refusal, in the process that was begun for it."""
    if name != TORCH_CAPTURE:
        return refusal(name)  # type: ignore[arg-type]
    from torch_engine import CudaRunner

    with open_gpu() as gpu:
        return capture_refusal(gpu, CudaRunner())


if __name__ == "__main__":
    print(f"\n{json.dumps({'reason': trial(sys.argv[1])})}", flush=True)
