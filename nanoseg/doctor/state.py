"""The state of a machine, read once."""

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
# Compute capabilities that TensorRT for RTX 1.7 supports: neither Jetsons nor newer data centre GPUs.
RTX_CAPABILITIES = frozenset({"7.5", "8.0", "8.6", "8.9", "12.0", "12.1"})


@dataclass(frozen=True)
class BundleState:
    """A bundle, by default the embedded one, and its engines."""

    name: str  # name or path, for `nanoseg build --bundle`
    version: str | None
    error: str | None  # reason why it cannot be opened
    device: str | None  # device that its engines must be for: "Orin 8GB (sm87) with TensorRT 10.3.0"
    kind: str | None  # of that TensorRT
    graphs: Mapping[str, Mapping[str, Any]]  # name -> precision, and file, valid, why of its engine
    engines: tuple[Mapping[str, Any], ...]  # for any device, as `nanoseg info` lists them
    engines_error: str | None  # reason why they cannot be listed


@dataclass(frozen=True)
class MachineState:
    """Results of all readers; the names are those of `nanoseg doctor --json`."""

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
    packages: Mapping[str, str]  # of dpkg
    bundle: BundleState

    @property
    def runs_on(self) -> tuple[str, ...]:
        """Backends that can run the bundle here, best first, by the names of `nanoseg.load`.

        tensorrt needs a valid engine for each graph of the bundle; ONNX Runtime needs a bundle in float32, or onnx to
        convert it.
        """
        if self.opencv.version is None:
            return ()
        float32 = not self.reduced or bool(self.libraries.get("onnx"))
        cuda, found = self.nvidia.cuda_error is None, []
        if cuda and self.bundle.graphs and all(graph["valid"] for graph in self.bundle.graphs.values()):
            found.append("tensorrt")
        if cuda and float32 and CUDA_PROVIDER in self.onnxruntime.providers:
            found.append("onnxruntime-cuda")
        if float32 and self.onnxruntime.version is not None:
            found.append("onnxruntime")
        return tuple(found)

    @property
    def reduced(self) -> tuple[str, ...]:
        """Graphs of the bundle in INT8 or FP16."""
        return tuple(name for name, graph in self.bundle.graphs.items() if graph["precision"] != "fp32")

    @property
    def builds(self) -> tuple[str, ...]:
        """Targets of `nanoseg build` that are possible for this machine's GPU."""
        capabilities = {gpu.compute_capability for gpu in self.nvidia.gpus}
        kinds = {each.kind for each in self.tensorrt if each.supported}
        full = ("tensorrt",) if "tensorrt" in kinds and capabilities else ()
        return (*full, *(("tensorrt-rtx",) if "tensorrt-rtx" in kinds and capabilities & RTX_CAPABILITIES else ()))


def read_state(machine: Machine, bundle: str = EMBEDDED_BUNDLE) -> MachineState:
    """Run all readers; takes some seconds, as libraries are loaded in subprocesses.

    Raises:
        BundleError: A bundle other than the embedded one cannot be opened.
    """
    packages = read_packages(machine)
    board = read_board(machine, packages)
    return MachineState(
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


def _read_bundle(machine: Machine, name: str) -> BundleState:
    try:
        version = open_bundle(name).version
    except NanosegError as error:
        if name != EMBEDDED_BUNDLE:  # a mistyped name, not a fault of this machine
            raise
        return BundleState(name, None, str(error), None, None, {}, (), None)
    result = machine.python("-m", "nanoseg.doctor.probe", "engines", name)
    graphs, engines = result.get("graphs", {}), tuple(result.get("engines", ()))
    device, kind = result.get("device"), result.get("kind")
    return BundleState(name, version, None, device, kind, graphs, engines, result.get("error"))
