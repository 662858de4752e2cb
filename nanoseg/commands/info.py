"""`nanoseg info`: the contents of a bundle, and the engines built of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from nanoseg.bundle import Bundle, open_bundle
from nanoseg.engines import EngineRecord, EngineState, EngineStore
from nanoseg.utils.terminal import format_number, print_json, print_table

METRICS = ("map50_95", "map50", "miou")


def info(name_or_path: str, as_json: bool = False, engines: Path | None = None) -> None:
    """Verify a bundle and print its contents, as a table or JSON.

    Args:
        name_or_path: Name of an embedded bundle, or the path of a folder.
        as_json: Print JSON.
        engines: Root of the engine store; by default as EngineStore has it.

    Raises:
        BundleError: A file of the bundle is missing or altered.
        EngineError: The engine store cannot be read.
    """
    contents = describe(open_bundle(name_or_path), engines)
    if as_json:
        print_json(contents)
    else:
        print_table(f"{contents['name']} {contents['version']}", _rows(contents))


def describe(bundle: Bundle, engines: Path | None = None) -> dict[str, Any]:
    """Return what `nanoseg info --json` prints; metrics that were not measured are null.

    Each engine, of whatever device, has `valid` on this device and `why` not; entries of an engine without a readable
    record are null. `memory` has an entry for each device that all engines are built for.
    """
    return {
        "name": bundle.name,
        "version": bundle.version,
        "description": bundle.description,
        "licence": bundle.licence,
        "path": str(bundle.path),
        "labels": list(bundle.labels),
        "thresholds": {
            "confidence": bundle.confidence,
            "iou": bundle.iou,
            "max_detections": bundle.max_detections,
        },
        "input": {
            "detector_px": bundle.detector_px,
            "rescale_px": bundle.rescale_px,
            "encoder_px": bundle.encoder_px,
        },
        "graphs": {
            name: {"precision": graph.precision, "sha256": graph.sha256, "bytes": graph.bytes, "file": graph.file}
            for name, graph in bundle.graphs.items()
        },
        "networks": msgspec.to_builtins(dict(bundle.networks)),
        "accuracy": {
            kind: dict.fromkeys(METRICS) | msgspec.to_builtins(bundle.accuracy.get(kind, {}))
            for kind in ("float32", "deployed")
        },
        **_engines(bundle, EngineStore(engines)),
    }


def _engines(bundle: Bundle, store: EngineStore) -> dict[str, Any]:
    from nanoseg.backends.find_device import select_device  # not loaded where there are no engines

    if not store.list_states(bundle, None):
        return {"engines": [], "memory": []}
    device, missing = select_device(bundle, store)
    states = store.list_states(bundle, device)
    by_folder: dict[Path, dict[str, EngineRecord]] = {}
    for state in states:
        graph = bundle.graphs.get(state.graph)
        if state.record and graph and state.record.graph_sha256 == graph.sha256:
            by_folder.setdefault(state.path.parent, {})[state.graph] = state.record
    complete = {folder: records for folder, records in by_folder.items() if records.keys() == bundle.graphs.keys()}
    return {
        "engines": [_engine(state, missing or state.invalid_reason) for state in states],
        "memory": [_memory(bundle, folder, records) for folder, records in complete.items()],
    }


def _memory(bundle: Bundle, folder: Path, records: Mapping[str, EngineRecord]) -> dict[str, Any]:
    """Return the memory that the engines of one device take with one frame at a time; null where it is not known."""
    from nanoseg.backends.tensorrt.pipeline.footprint import footprint
    from nanoseg.bundle.signature import read_signature

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


def _rows(contents: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [
        ("folder", contents["path"]),
        ("about", contents["description"]),
        ("licence", contents["licence"]),
        ("labels", f"{len(contents['labels'])}: {', '.join(contents['labels'])}"),
        ("thresholds", ", ".join(f"{name} {value}" for name, value in contents["thresholds"].items())),
        ("input", ", ".join(f"{name.removesuffix('_px')} {value} px" for name, value in contents["input"].items())),
    ]
    for name, graph in contents["graphs"].items():
        rows.append((name, f"{graph['precision']}  {graph['bytes'] / 1e6:.2f} MB  sha256 {graph['sha256'][:12]}"))
    for name, network in contents["networks"].items():
        rows.append((name, f"{network['architecture']}; weights: {network['weights'] or 'not stated'}"))
    for kind, accuracy in contents["accuracy"].items():
        metrics = ", ".join(f"{name} {format_number(accuracy[name])}" for name in METRICS)
        measured = any(accuracy[name] is not None for name in METRICS)
        rows.append((f"accuracy {kind}", metrics if measured else "not measured"))
    files = [Path(engine["file"]) for engine in contents["engines"]]
    rows.append(("engines", str(files[0].parents[1]) if files else "none built"))
    for engine, file in zip(contents["engines"], files, strict=True):
        size = engine["bytes"] and f"{engine['bytes'] / 1e6:.2f} MB"
        verdict = "valid here" if engine["valid"] else f"not valid here: {engine['why']}"
        parts = (engine["precision"], size, f"{file.parent.name}/{file.name}", verdict)
        rows.append((f"engine {engine['graph']}", "  ".join(filter(None, parts))))
    rows += [("memory", _memory_row(each)) for each in contents["memory"]]
    return rows


def _memory_row(memory: dict[str, Any]) -> str:
    folder = Path(memory["folder"]).name
    if memory["gpu_bytes"] is None:
        return f"{folder}  not known: TensorRT did not report an engine's activation memory"
    mb = {name.removesuffix("_bytes"): f"{memory[name] / 1e6:.1f} MB" for name in memory if name.endswith("_bytes")}
    return (
        f"{folder}  {mb['gpu']} of the GPU's at {memory['frame']}: weights {mb['weights']}, activations "
        f"{mb['activations']}, tensors {mb['tensors']}; {mb['pinned']} pinned; stream() {mb['stream']} more, "
        f"{mb['stream_pinned']} pinned"
    )
