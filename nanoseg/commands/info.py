"""`nanoseg info`: what a bundle holds, and the engines built of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from nanoseg.bundle import Bundle, open_bundle
from nanoseg.engines import EngineRecord, EngineState, EngineStore
from nanoseg.utils.terminal import format_number, print_json, print_table

FIGURES = ("map50_95", "map50", "miou")


def info(name_or_path: str, as_json: bool = False, engines: Path | None = None) -> None:
    """Verify a bundle and tell what is in it. `engines`: see EngineStore. Raises BundleError or EngineError."""
    told = describe(open_bundle(name_or_path), engines)
    if as_json:
        print_json(told)
    else:
        print_table(f"{told['name']} {told['version']}", _rows(told))


def describe(bundle: Bundle, engines: Path | None = None) -> dict[str, Any]:
    """What `nanoseg info --json` prints; figures that nobody measured are null.

    Each engine, whatever device it is for, says whether it is `valid` here and `why` not; what an engine without a
    readable record would say of itself is null. `memory` has an entry for each device that all engines are built for.
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
            kind: dict.fromkeys(FIGURES) | msgspec.to_builtins(bundle.accuracy.get(kind, {}))
            for kind in ("float32", "deployed")
        },
        **_built(bundle, EngineStore(engines)),
    }


def _built(bundle: Bundle, store: EngineStore) -> dict[str, Any]:
    from nanoseg.backends.device import select_device  # here, so that no engines need no TensorRT

    if not store.list_states(bundle, None):
        return {"engines": [], "memory": []}
    device, missing = select_device(bundle, store)
    states = store.list_states(bundle, device)
    by_folder: dict[Path, dict[str, EngineRecord]] = {}
    for state in states:
        graph = bundle.graphs.get(state.graph)
        if state.record and graph and state.record.graph_sha256 == graph.sha256:
            by_folder.setdefault(state.path.parent, {})[state.graph] = state.record
    whole = {folder: records for folder, records in by_folder.items() if records.keys() == bundle.graphs.keys()}
    return {
        "engines": [_engine(state, missing or state.invalid_reason) for state in states],
        "memory": [_memory(bundle, folder, records) for folder, records in whole.items()],
    }


def _memory(bundle: Bundle, folder: Path, records: Mapping[str, EngineRecord]) -> dict[str, Any]:
    """What the engines of one device take while a frame at a time is worked on; null where it is not known."""
    from nanoseg.backends.tensorrt.pipeline.memory import footprint
    from nanoseg.bundle.signature import read_signature

    found = footprint({name: read_signature(graph.path) for name, graph in bundle.graphs.items()}, records)
    return {
        "folder": str(folder),
        "gpu": records["prepare"].gpu,
        "frame": found and f"{found.frame_hw[1]}x{found.frame_hw[0]}",
        "gpu_bytes": found and found.gpu,
        "weights_bytes": found and found.weights,
        "activations_bytes": found and found.activations,
        "tensors_bytes": found and found.tensors,
        "pinned_bytes": found and found.pinned,
        "stream_bytes": found and found.stream,
        "stream_pinned_bytes": found and found.stream_pinned,
    }


def _engine(state: EngineState, why: str) -> dict[str, Any]:
    made = state.record
    return {
        "graph": state.graph,
        "file": str(state.path),
        "gpu": made and made.gpu,
        "tensorrt": made and made.tensorrt,
        "kind": made and made.kind,
        "precision": made and made.precision,
        "bytes": made.bytes if made else state.nbytes,
        "built_at": made and made.built_at,
        "valid": not why,
        "why": why,
    }


def _rows(told: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [
        ("folder", told["path"]),
        ("about", told["description"]),
        ("licence", told["licence"]),
        ("labels", f"{len(told['labels'])}: {', '.join(told['labels'])}"),
        ("thresholds", ", ".join(f"{name} {value}" for name, value in told["thresholds"].items())),
        ("input", ", ".join(f"{name.removesuffix('_px')} {value} px" for name, value in told["input"].items())),
    ]
    for name, graph in told["graphs"].items():
        rows.append((name, f"{graph['precision']}  {graph['bytes'] / 1e6:.2f} MB  sha256 {graph['sha256'][:12]}"))
    for name, network in told["networks"].items():
        rows.append((name, f"{network['architecture']}; weights: {network['weights'] or 'not told'}"))
    for kind, scores in told["accuracy"].items():
        figures = ", ".join(f"{name} {format_number(scores[name])}" for name in FIGURES)
        measured = any(scores[name] is not None for name in FIGURES)
        rows.append((f"accuracy {kind}", figures if measured else "not measured"))
    files = [Path(engine["file"]) for engine in told["engines"]]
    rows.append(("engines", str(files[0].parents[1]) if files else "none built"))
    for engine, file in zip(told["engines"], files, strict=True):
        size = engine["bytes"] and f"{engine['bytes'] / 1e6:.2f} MB"
        verdict = "valid here" if engine["valid"] else f"not valid here: {engine['why']}"
        parts = (engine["precision"], size, f"{file.parent.name}/{file.name}", verdict)
        rows.append((f"engine {engine['graph']}", "  ".join(filter(None, parts))))
    rows += [("memory", _memory_row(each)) for each in told["memory"]]
    return rows


def _memory_row(told: dict[str, Any]) -> str:
    folder = Path(told["folder"]).name
    if told["gpu_bytes"] is None:
        return f"{folder}  not known: TensorRT did not tell what an engine computes in"
    mb = {name.removesuffix("_bytes"): f"{told[name] / 1e6:.1f} MB" for name in told if name.endswith("_bytes")}
    return (
        f"{folder}  {mb['gpu']} of the GPU's at {told['frame']}: weights {mb['weights']}, activations "
        f"{mb['activations']}, tensors {mb['tensors']}; {mb['pinned']} pinned; stream() {mb['stream']} more, "
        f"{mb['stream_pinned']} pinned"
    )
