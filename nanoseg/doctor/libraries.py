"""Read the Python libraries: TensorRT of each kind, ONNX Runtime, and the libraries of nanoseg's extras."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nanoseg.backends.tensorrt.build.builder import MIN_TENSORRT
from nanoseg.doctor.machine import Machine
from nanoseg.engines.device import LIBRARIES, Kind
from nanoseg.utils.versions import version_tuple

REQUIRED = ("numpy", "msgspec", "rich", "typer")
# Libraries of nanoseg's extras; `gpu` and `opencv` have their own readers.
EXTRAS = {
    "cpu": ("onnxruntime", "onnx"),
    "video": ("av",),
    "draw": ("supervision",),
    "track": ("trackers",),
    "eval": ("pycocotools", "pillow"),
    "bundle": ("onnx", "onnxslim", "tomli-w"),
    "export": ("torch", "onnxscript", "safetensors"),
    "bench": ("matplotlib",),
    "quantize": ("matplotlib",),
    "train": ("modern-yolonas",),
}
OTHERS = ("onnxruntime-gpu", "cuda-bindings", "pycuda", "tomli")


@dataclass(frozen=True)
class TensorRt:
    """One kind of TensorRT library, installed or not."""

    kind: Kind
    module: str
    version: str | None  # None where it is missing or cannot be loaded
    error: str | None  # reason why it cannot be loaded

    @property
    def supported(self) -> bool:
        """Whether nanoseg supports the version; TensorRT for RTX has its own version numbers."""
        return self.version is not None and (self.kind == "tensorrt-rtx" or version_tuple(self.version) >= MIN_TENSORRT)


@dataclass(frozen=True)
class OnnxRuntime:
    """The ONNX Runtime that `import onnxruntime` loads."""

    version: str | None
    error: str | None
    providers: tuple[str, ...]
    pip: tuple[str, ...]  # those of onnxruntime and onnxruntime-gpu, which hold the same module, that are installed


def read_tensorrt(machine: Machine) -> tuple[TensorRt, ...]:
    """Read each kind of TensorRT, installed or not."""
    found = []
    for kind, library in LIBRARIES.items():
        result = machine.python("-m", "nanoseg.backends.probe", "version", library.module)
        found.append(TensorRt(kind, library.module, result.get("version"), result.get("error")))
    return tuple(found)


def read_onnxruntime(machine: Machine) -> OnnxRuntime:
    """Read ONNX Runtime and its execution providers."""
    result = machine.python("-m", "nanoseg.doctor.probe", "onnxruntime")
    return OnnxRuntime(
        version=result.get("version"),
        error=result.get("error"),
        providers=tuple(result.get("providers", ())),
        pip=tuple(name for name in ("onnxruntime", "onnxruntime-gpu") if machine.installed(name)),
    )


def read_libraries(machine: Machine) -> Mapping[str, str | None]:
    """Read versions by distribution name; None where a library is not installed."""
    names = (*REQUIRED, *(name for group in EXTRAS.values() for name in group), *OTHERS)
    return {name: machine.installed(name) for name in names}
