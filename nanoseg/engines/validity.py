"""Why an engine is not valid here, in words that follow its path and a colon; nothing where it is valid."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from nanoseg.bundle import Graph
from nanoseg.engines.device import Device, Kind, spell_gpu, spell_tensorrt
from nanoseg.engines.record import EngineRecord
from nanoseg.utils.hashing import sha256_of_file

NO_TENSORRT = "no TensorRT on this machine"
WITHOUT = "--backend onnxruntime runs the bundle without"  # what to do where engines do not run


def invalid_reason(record: EngineRecord, path: Path, graph: Graph | None, device: Device | None) -> str:
    """Why the engine at `path` is not valid; its file is read only where all else fits."""
    return why_not_unread(record, path, graph, device) or _why_not_whole(record, path)


def why_not_unread(record: EngineRecord, path: Path, graph: Graph | None, device: Device | None) -> str:
    """What invalid_reason() can tell without reading the file: that it is of another device, graph or size."""
    return why_not_here(record, device) or why_not_this_graph(record, graph) or _why_not_its_size(record, path)


def read_whole(record: EngineRecord, path: Path) -> tuple[bytes, str]:
    """What is in an engine's file, read once; or nothing, and what differs between that and its record."""
    if why := _why_not_its_size(record, path):
        return b"", why
    try:
        plan = path.read_bytes()
    except OSError as error:
        return b"", _why_unreadable(error)
    why = _why_not_its_sha256(record, hashlib.sha256(plan).hexdigest())
    return b"" if why else plan, why


def may_run(kind: Kind, built_by: Kind) -> bool:
    """Whether there is any engine of `built_by` that `kind` runs."""
    return (kind == "tensorrt_rtx") == (built_by == "tensorrt_rtx")


def why_not_here(record: EngineRecord, device: Device | None) -> str:
    """What differs between the device that an engine was built for and this one."""
    if device is None:
        return NO_TENSORRT
    return why_not_this_gpu(record, device) or _why_not_this_tensorrt(record, device)


def why_not_this_gpu(record: EngineRecord, device: Device) -> str:
    """What differs between the GPU that an engine was built for and this one."""
    made = spell_gpu(record.gpu, record.compute_capability)
    here = spell_gpu(device.gpu, device.compute_capability)
    return "" if made == here else f"built for the GPU {made}, here is {here}"


def _why_not_this_tensorrt(record: EngineRecord, device: Device) -> str:
    made, here = spell_tensorrt(record.kind, record.tensorrt), spell_tensorrt(device.kind, device.tensorrt)
    if "tensorrt_rtx" in (record.kind, device.kind):
        # Its engines run on the very release that built them, so there is no version_compatible to look at.
        same = (record.kind, record.tensorrt) == (device.kind, device.tensorrt)
        return "" if same else f"built by {made}, here is {here}"
    if device.kind == "tensorrt_lean" and not record.version_compatible:
        return f"not built version-compatible, and {here} runs no others"
    if record.tensorrt == device.tensorrt:
        return ""
    if not record.version_compatible:
        return f"built by {made}, here is {here}"
    built_by, running = version(record.tensorrt), version(device.tensorrt)
    if built_by[:1] == running[:1] and built_by <= running:
        return ""
    # NVIDIA lets TensorRT 11 run those of 10; whether it does was never tried here.
    only = "version-compatible, but nanoseg takes those of earlier versions of the same major alone"
    return f"built by {made}, here is {here}: {only}"


def why_not_this_graph(record: EngineRecord, graph: Graph | None) -> str:
    """What differs between the graph that an engine was built from and the bundle's."""
    if graph is None:
        return f"the bundle has no graph {record.graph}"
    if record.graph_sha256 != graph.sha256:
        return (
            f"built from an older {graph.file}, sha256 {record.graph_sha256[:12]}; the bundle's is {graph.sha256[:12]}"
        )
    return ""


def _why_not_its_size(record: EngineRecord, path: Path) -> str:
    try:
        size = path.stat().st_size
    except OSError as error:
        return _why_unreadable(error)
    if size < record.bytes:
        return f"truncated: wanted {record.bytes} bytes, got {size}"
    return f"altered since it was built: wanted {record.bytes} bytes, got {size}" if size > record.bytes else ""


def _why_not_whole(record: EngineRecord, path: Path) -> str:
    try:
        return _why_not_its_sha256(record, sha256_of_file(path))
    except OSError as error:
        return _why_unreadable(error)


def _why_not_its_sha256(record: EngineRecord, digest: str) -> str:
    wanted = f"wanted sha256 {record.sha256}, got {digest}"
    return "" if digest == record.sha256 else f"altered since it was built: {wanted}"


def _why_unreadable(error: OSError) -> str:
    return "the file is missing" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"


def version(text: str) -> tuple[int, ...]:
    """`10.13.3.9` -> (10, 13, 3), of any library: a fourth number is one build of the same release."""
    return tuple(int(number) for number in re.findall(r"\d+", text)[:3])
