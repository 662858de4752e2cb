"""Everything that is known of a machine, gathered once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nanoseg.bundle import EMBEDDED_BUNDLE, open_bundle
from nanoseg.doctor.board import Board, read_board
from nanoseg.doctor.cameras import Cameras, read_cameras
from nanoseg.doctor.gpu import Nvidia, read_nvidia
from nanoseg.doctor.libraries import (
    OnnxRuntime,
    TensorRt,
    read_libraries,
    read_onnxruntime,
    read_tensorrt,
)
from nanoseg.doctor.machine import Machine
from nanoseg.doctor.opencv import OpenCv, read_opencv
from nanoseg.doctor.packages import read_packages
from nanoseg.doctor.power import Power, read_power
from nanoseg.doctor.system import Memory, Python, System, read_memory, read_python, read_system
from nanoseg.errors import NanosegError

CUDA_PROVIDER = "CUDAExecutionProvider"  # of ONNX Runtime
# Compute capabilities that TensorRT for RTX 1.7 builds for: no Jetson and no data centre's GPU since Ampere.
RTX_CAPABILITIES = frozenset({"7.5", "8.0", "8.6", "8.9", "12.0", "12.1"})


@dataclass(frozen=True)
class BundleFacts:
    """A bundle, by default the one that comes with nanoseg, and what is built of it."""

    name: str  # as it was given, which `nanoseg build --bundle` takes
    version: str | None
    error: str | None  # why it cannot be opened
    device: str | None  # what its engines have to be for: "Orin 8GB (sm87) with TensorRT 10.3.0"
    kind: str | None  # of that TensorRT
    graphs: Mapping[str, Mapping[str, Any]]  # by name: precision, and file, valid and why of the engine for it
    engines: tuple[Mapping[str, Any], ...]  # of whatever device, as `nanoseg info` tells them
    engines_error: str | None  # why they are not known


@dataclass(frozen=True)
class Facts:
    """What the readers found; the names are those of `nanoseg doctor --json`."""

    board: Board
    power: Power
    system: System
    python: Python
    memory: Memory
    nvidia: Nvidia
    tensorrt: tuple[TensorRt, ...]
    onnxruntime: OnnxRuntime
    opencv: OpenCv
    cameras: Cameras
    libraries: Mapping[str, str | None]
    packages: Mapping[str, str]  # dpkg's
    bundle: BundleFacts

    @property
    def runs_on(self) -> tuple[str, ...]:
        """The backends that can run the bundle here, best first, by the names that `nanoseg.load` takes.

        tensorrt is one where each graph of it has a valid engine; another bundle may have none. ONNX Runtime is one
        where the bundle is in float32, or there is onnx to turn it into that.
        """
        if self.opencv.version is None:
            return ()
        in_float32 = not self.reduced or bool(self.libraries.get("onnx"))
        cuda, found = self.nvidia.cuda_error is None, []
        if cuda and self.bundle.graphs and all(graph["valid"] for graph in self.bundle.graphs.values()):
            found.append("tensorrt")
        if cuda and in_float32 and CUDA_PROVIDER in self.onnxruntime.providers:
            found.append("onnxruntime-cuda")
        if in_float32 and self.onnxruntime.version is not None:
            found.append("onnxruntime")
        return tuple(found)

    @property
    def reduced(self) -> tuple[str, ...]:
        """The graphs of the bundle that are in INT8 or FP16."""
        return tuple(name for name, graph in self.bundle.graphs.items() if graph["precision"] != "fp32")

    @property
    def builds(self) -> tuple[str, ...]:
        """The targets that `nanoseg build` can build for this machine's GPU."""
        capabilities = {gpu.compute_capability for gpu in self.nvidia.gpus}
        kinds = {each.kind for each in self.tensorrt if each.supported}
        full = ("tensorrt",) if "tensorrt" in kinds and capabilities else ()
        return (*full, *(("tensorrt-rtx",) if "tensorrt-rtx" in kinds and capabilities & RTX_CAPABILITIES else ()))


def gather(machine: Machine, bundle: str = EMBEDDED_BUNDLE) -> Facts:
    """Ask every reader; takes some seconds, as libraries are loaded in processes of their own.

    Raises BundleError where a bundle other than the embedded one cannot be opened.
    """
    packages = read_packages(machine)
    board = read_board(machine, packages)
    return Facts(
        board=board,
        power=read_power(machine),
        system=read_system(machine),
        python=read_python(machine),
        memory=read_memory(machine),
        nvidia=read_nvidia(machine, board),
        tensorrt=read_tensorrt(machine),
        onnxruntime=read_onnxruntime(machine),
        opencv=read_opencv(machine),
        cameras=read_cameras(machine),
        libraries=read_libraries(machine),
        packages=packages,
        bundle=_read_bundle(machine, bundle),
    )


def _read_bundle(machine: Machine, name: str) -> BundleFacts:
    try:
        version = open_bundle(name).version
    except NanosegError as error:
        if name != EMBEDDED_BUNDLE:  # a name mistyped, rather than something wrong with this machine
            raise
        return BundleFacts(name, None, str(error), None, None, {}, (), None)
    told = machine.python("-m", "nanoseg.doctor.probe", "engines", name)
    graphs, engines = told.get("graphs", {}), tuple(told.get("engines", ()))
    device, kind = told.get("device"), told.get("kind")
    return BundleFacts(name, version, None, device, kind, graphs, engines, told.get("error"))
