"""Python libraries: TensorRT of each kind, ONNX Runtime, and the optional ones by the extra that brings them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nanoseg.backends.tensorrt.build.builder import MIN_TENSORRT
from nanoseg.doctor.machine import Machine
from nanoseg.engines.device import LIBRARIES, Kind
from nanoseg.utils.versions import version_tuple

REQUIRED = ("numpy", "msgspec", "rich", "typer")
# What works without each, by nanoseg's extras; `gpu` and `opencv` are told apart.
EXTRAS = {
    "cpu": ("onnxruntime", "onnx"),
    "draw": ("supervision", "av"),
    "eval": ("pycocotools", "pillow"),
    "bundle": ("onnx", "onnxslim", "tomli-w"),
    "export": ("torch", "onnxscript", "safetensors"),
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
    error: str | None  # why it cannot be loaded

    @property
    def supported(self) -> bool:
        """Whether nanoseg builds or runs engines with it; TensorRT for RTX counts its versions anew."""
        return self.version is not None and (self.kind == "tensorrt-rtx" or version_tuple(self.version) >= MIN_TENSORRT)


@dataclass(frozen=True)
class OnnxRuntime:
    """What `import onnxruntime` finds."""

    version: str | None
    error: str | None
    providers: tuple[str, ...]
    pip: tuple[str, ...]  # onnxruntime and onnxruntime-gpu: both bring the same module


def read_tensorrt(machine: Machine) -> tuple[TensorRt, ...]:
    """Each kind, installed or not."""
    found = []
    for kind, library in LIBRARIES.items():
        told = machine.python("-m", "nanoseg.backends.probe", "version", library.module)
        found.append(TensorRt(kind, library.module, told.get("version"), told.get("error")))
    return tuple(found)


def read_onnxruntime(machine: Machine) -> OnnxRuntime:
    """ONNX Runtime and what it can run on."""
    told = machine.python("-m", "nanoseg.doctor.probe", "onnxruntime")
    return OnnxRuntime(
        version=told.get("version"),
        error=told.get("error"),
        providers=tuple(told.get("providers", ())),
        pip=tuple(name for name in ("onnxruntime", "onnxruntime-gpu") if machine.installed(name)),
    )


def read_libraries(machine: Machine) -> Mapping[str, str | None]:
    """Versions by the names that pip knows; None where a library is not installed."""
    names = (*REQUIRED, *(name for group in EXTRAS.values() for name in group), *OTHERS)
    return {name: machine.installed(name) for name in names}
