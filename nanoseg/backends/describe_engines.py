"""Description of the engines built of a bundle, for `nanoseg info` and `nanoseg doctor`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nanoseg.backends.find_device import select_device
from nanoseg.backends.tensorrt.pipeline.footprint import footprint
from nanoseg.bundle import Bundle
from nanoseg.bundle.signature import read_signature
from nanoseg.engines import EngineRecord, EngineState, EngineStore


def describe_engines(bundle: Bundle, store: EngineStore) -> dict[str, Any]:
    """Return a bundle's engines and their memory, as entries of a JSON object.

    Args:
        bundle: The opened bundle.
        store: The engine store.

    Returns:
        `engines`, a list of the engines of any device, with `valid` on this device and the reason as `why`; entries of
        an engine without a readable record are null. `memory`, a list with one object for each device that all engines
        are built for.

    Raises:
        EngineError: The engine store cannot be read.
    """
    if not store.list_states(bundle, None):
        return {"engines": [], "memory": []}
    device, missing = select_device(bundle, store)
    states = store.list_states(bundle, device)
    by_folder: dict[Path, dict[str, EngineRecord]] = {}
    for state in states:
        graph = bundle.graphs.get(state.graph)
        if state.record and graph and state.record.graph_sha256 == graph.built.sha256:
            by_folder.setdefault(state.path.parent, {})[state.graph] = state.record
    complete = {folder: records for folder, records in by_folder.items() if records.keys() == bundle.graphs.keys()}
    return {
        "engines": [_engine(state, missing or state.invalid_reason) for state in states],
        "memory": [_memory(bundle, folder, records) for folder, records in complete.items()],
    }


def _memory(bundle: Bundle, folder: Path, records: Mapping[str, EngineRecord]) -> dict[str, Any]:
    """Return the memory that the engines of one device take with one frame at a time; null where it is not known."""
    memory = footprint({name: read_signature(graph.path) for name, graph in bundle.graphs.items()}, records)
    return {
        "folder": str(folder),
        "gpu": records["prepare"].gpu,
        "frame": memory and f"{memory.frame_hw[1]}x{memory.frame_hw[0]}",
        "gpu_bytes": memory and memory.gpu,
        "weights_bytes": memory and memory.weights,
        "activations_bytes": memory and memory.activations,
        "tensors_bytes": memory and memory.tensors,
        "pinned_bytes": memory and memory.pinned,
        "stream_bytes": memory and memory.stream,
        "stream_pinned_bytes": memory and memory.stream_pinned,
    }


def _engine(state: EngineState, invalid_reason: str) -> dict[str, Any]:
    record = state.record
    return {
        "graph": state.graph,
        "file": str(state.path),
        "gpu": record and record.gpu,
        "tensorrt": record and record.tensorrt,
        "kind": record and record.kind,
        "precision": record and record.precision,
        "bytes": record.bytes if record else state.nbytes,
        "built_at": record and record.built_at,
        "valid": not invalid_reason,
        "why": invalid_reason,
    }
