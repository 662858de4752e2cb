"""What an engine is built for: one GPU and one TensorRT."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["tensorrt", "tensorrt_lean", "tensorrt_rtx"]  # the names of the Python modules

_TITLES = {"tensorrt": "TensorRT", "tensorrt_lean": "TensorRT's lean runtime", "tensorrt_rtx": "TensorRT for RTX"}


@dataclass(frozen=True)
class Device:
    """A GPU, and the TensorRT that drives it. nanoseg.backends.device finds the one of this machine."""

    gpu: str  # "Orin 8GB", "NVIDIA GeForce RTX 4090"
    compute_capability: tuple[int, int]  # (8, 7)
    tensorrt: str  # its version, as the library tells it: "10.3.0"
    kind: Kind = "tensorrt"

    @property
    def folder(self) -> str:
        """`orin-8gb-sm87-trt10.3.0`: the lean runtime looks where all of TensorRT builds."""
        gpu = re.sub(r"[^a-z0-9]+", "-", self.gpu.lower()).strip("-") or "gpu"
        version = re.sub(r"[^A-Za-z0-9.]+", "-", self.tensorrt)
        return f"{gpu}-{spell_sm(self.compute_capability)}-{'rtx' if self.kind == 'tensorrt_rtx' else 'trt'}{version}"

    def __str__(self) -> str:
        return f"{spell_gpu(self.gpu, self.compute_capability)} with {spell_tensorrt(self.kind, self.tensorrt)}"


def spell_sm(compute_capability: tuple[int, int]) -> str:
    """(8, 7) -> `sm87`."""
    return "sm{}{}".format(*compute_capability)


def spell_gpu(gpu: str, compute_capability: tuple[int, int]) -> str:
    """`Orin 8GB (sm87)`."""
    return f"{gpu} ({spell_sm(compute_capability)})"


def spell_tensorrt(kind: Kind, version: str) -> str:
    """`TensorRT for RTX 1.7.1`."""
    return f"{_TITLES[kind]} {version}"
