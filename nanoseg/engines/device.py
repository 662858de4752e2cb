"""The device that an engine is built for: one GPU and one TensorRT library."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

Kind = Literal["tensorrt", "tensorrt-rtx", "tensorrt-lean"]  # of a TensorRT library, as records and --json spell it


class Library(NamedTuple):
    """One kind of TensorRT library; all kinds have the same Python API."""

    module: str  # the name to import
    title: str
    builds: bool  # it has a builder; the lean runtime runs version-compatible engines, and no others


# In order of preference: the first that is installed and suitable is used.
LIBRARIES: Mapping[Kind, Library] = {
    "tensorrt": Library("tensorrt", "TensorRT", builds=True),
    "tensorrt-rtx": Library("tensorrt_rtx", "TensorRT for RTX", builds=True),
    "tensorrt-lean": Library("tensorrt_lean", "TensorRT's lean runtime", builds=False),
}
BUILDERS = tuple(kind for kind, library in LIBRARIES.items() if library.builds)  # the values of --target


@dataclass(frozen=True)
class Device:
    """A GPU with the TensorRT library that drives it; nanoseg.backends.find_device finds this machine's."""

    gpu: str  # "Orin 8GB", "NVIDIA GeForce RTX 4090"
    compute_capability: tuple[int, int]  # (8, 7)
    tensorrt: str  # the library's __version__: "10.3.0"
    kind: Kind = "tensorrt"

    @property
    def folder(self) -> str:
        """Name of the folder of its engines: `orin-8gb-sm87-trt10.3.0`; the lean runtime shares TensorRT's."""
        gpu = re.sub(r"[^a-z0-9]+", "-", self.gpu.lower()).strip("-") or "gpu"
        version = re.sub(r"[^A-Za-z0-9.]+", "-", self.tensorrt)
        return f"{gpu}-{format_sm(self.compute_capability)}-{'rtx' if self.kind == 'tensorrt-rtx' else 'trt'}{version}"

    def __str__(self) -> str:
        return f"{format_gpu(self.gpu, self.compute_capability)} with {format_library(self.kind, self.tensorrt)}"


def kind_of(module: str) -> Kind:
    """Return the kind of a TensorRT library by its module's name: `tensorrt_rtx` -> `tensorrt-rtx`."""
    return next(kind for kind, library in LIBRARIES.items() if library.module == module)


def format_sm(compute_capability: tuple[int, int]) -> str:
    """Return NVIDIA's short name of a compute capability: (8, 7) -> `sm87`."""
    return "sm{}{}".format(*compute_capability)


def format_gpu(gpu: str, compute_capability: tuple[int, int]) -> str:
    """Return a GPU for messages: `Orin 8GB (sm87)`."""
    return f"{gpu} ({format_sm(compute_capability)})"


def format_library(kind: Kind, version: str) -> str:
    """Return a TensorRT library for messages: `TensorRT for RTX 1.7.1`."""
    return f"{LIBRARIES[kind].title} {version}"
