"""Invalid reasons: what keeps an engine from running on this device.

Each function returns words that follow the engine's path and a colon in a message, or an empty string.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from nanoseg.bundle import Graph
from nanoseg.engines.device import Device, Kind, format_gpu, format_library
from nanoseg.engines.record import EngineRecord
from nanoseg.utils.hashing import sha256_of_file
from nanoseg.utils.regular_file import read_regular
from nanoseg.utils.versions import version_tuple

NO_TENSORRT = "no TensorRT on this machine"
RUN_WITHOUT_ENGINES = "--backend onnxruntime runs the bundle without"  # the advice where engines cannot run


def invalid_reason(record: EngineRecord, path: Path, graph: Graph | None, device: Device | None) -> str:
    """Return why the engine at `path` is not valid; its file is hashed only where all else fits."""
    return record_mismatch(record, path, graph, device) or _file_mismatch(record, path)


def record_mismatch(record: EngineRecord, path: Path, graph: Graph | None, device: Device | None) -> str:
    """Return what is wrong by the record and the file's size alone; the file is not read."""
    return device_mismatch(record, device) or graph_mismatch(record, graph) or _size_mismatch(record, path)


def read_verified(record: EngineRecord, path: Path) -> tuple[bytes, str]:
    """Read an engine's file once.

    Returns:
        Its content and "", or b"" and what differs between the file and its record.
    """
    if reason := _size_mismatch(record, path):
        return b"", reason
    try:
        plan = read_regular(path, record.bytes)
    except OSError as error:
        return b"", _unreadable(error)
    reason = _sha256_mismatch(record, hashlib.sha256(plan).hexdigest())
    return b"" if reason else plan, reason


def can_run(kind: Kind, built_by: Kind) -> bool:
    """Return whether a library of `kind` can run any engine built by one of `built_by`."""
    return (kind == "tensorrt-rtx") == (built_by == "tensorrt-rtx")


def device_mismatch(record: EngineRecord, device: Device | None) -> str:
    """Return what differs between the device that an engine was built for and `device`."""
    if device is None:
        return NO_TENSORRT
    return gpu_mismatch(record, device) or _library_mismatch(record, device)


def gpu_mismatch(record: EngineRecord, device: Device) -> str:
    """Return what differs between the GPU that an engine was built for and `device`'s."""
    built_for = format_gpu(record.gpu, record.compute_capability)
    gpu = format_gpu(device.gpu, device.compute_capability)
    return "" if built_for == gpu else f"built for the GPU {built_for}, here is {gpu}"


def _library_mismatch(record: EngineRecord, device: Device) -> str:
    built_by, running = format_library(record.kind, record.tensorrt), format_library(device.kind, device.tensorrt)
    if "tensorrt-rtx" in (record.kind, device.kind):
        # Its engines run on the very release that built them, so there is no version_compatible to look at.
        same = (record.kind, record.tensorrt) == (device.kind, device.tensorrt)
        return "" if same else f"built by {built_by}, here is {running}"
    if device.kind == "tensorrt-lean" and not record.version_compatible:
        return f"not built version-compatible, and {running} runs no others"
    if record.tensorrt == device.tensorrt:
        return ""
    if not record.version_compatible:
        return f"built by {built_by}, here is {running}"
    built_version, running_version = version_tuple(record.tensorrt), version_tuple(device.tensorrt)
    if built_version[:1] == running_version[:1] and built_version <= running_version:
        return ""
    # NVIDIA lets TensorRT 11 run those of 10; whether it does was never tried with nanoseg.
    only = "version-compatible, but nanoseg takes those of earlier versions of the same major alone"
    return f"built by {built_by}, here is {running}: {only}"


def graph_mismatch(record: EngineRecord, graph: Graph | None) -> str:
    """Return what differs between the graph that an engine was built from and the bundle's."""
    if graph is None:
        return f"the bundle has no graph {record.graph}"
    built = graph.built
    if record.graph_sha256 != built.sha256:
        return (
            f"built from an older {built.file}, sha256 {record.graph_sha256[:12]}; the bundle's is {built.sha256[:12]}"
        )
    return ""


def _size_mismatch(record: EngineRecord, path: Path) -> str:
    try:
        size = path.stat().st_size
    except OSError as error:
        return _unreadable(error)
    if size < record.bytes:
        return f"truncated: wanted {record.bytes} bytes, got {size}"
    return f"altered since it was built: wanted {record.bytes} bytes, got {size}" if size > record.bytes else ""


def _file_mismatch(record: EngineRecord, path: Path) -> str:
    try:
        return _sha256_mismatch(record, sha256_of_file(path))
    except OSError as error:
        return _unreadable(error)


def _sha256_mismatch(record: EngineRecord, digest: str) -> str:
    wanted = f"wanted sha256 {record.sha256}, got {digest}"
    return "" if digest == record.sha256 else f"altered since it was built: {wanted}"


def _unreadable(error: OSError) -> str:
    return "the file is missing" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
