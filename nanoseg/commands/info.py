"""`nanoseg info`: the contents of a bundle, and the engines built of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from nanoseg.backends.describe_engines import describe_engines
from nanoseg.bundle import Bundle, Graph, open_bundle
from nanoseg.engines import EngineStore
from nanoseg.processing.geometry import CENTRED
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

    Args:
        bundle: The opened bundle.
        engines: Root of the engine store; by default as EngineStore has it.

    Returns:
        A JSON object, with the entries of `describe_engines`.

    Raises:
        EngineError: The engine store cannot be read.
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
            **({} if bundle.max_candidates is None else {"max_candidates": bundle.max_candidates}),
            "nms": bundle.nms,
        },
        "input": {
            "detector_px": bundle.detector_px,
            "rescale_px": bundle.rescale_px,
            "encoder_px": bundle.encoder_px,
            **({} if bundle.padding == CENTRED else {"padding": str(bundle.padding)}),
        },
        **({} if bundle.keypoints is None else {"keypoints": msgspec.to_builtins(bundle.keypoints)}),
        "graphs": {
            name: _graph(graph) | ({"tensorrt": _graph(form)} if (form := graph.for_tensorrt) is not None else {})
            for name, graph in bundle.graphs.items()
        },
        "networks": msgspec.to_builtins(dict(bundle.networks)),
        "accuracy": {
            kind: dict.fromkeys(METRICS) | msgspec.to_builtins(bundle.accuracy.get(kind, {}))
            for kind in ("float32", "deployed")
        },
        "warnings": list(bundle.warnings),
        **describe_engines(bundle, EngineStore(engines)),
    }


def _graph(graph: Graph) -> dict[str, Any]:
    return {"precision": graph.precision, "sha256": graph.sha256, "bytes": graph.bytes, "file": graph.file}


def _input(name: str, value: int | str) -> str:
    return f"{name.removesuffix('_px')} {value}{' px' if name.endswith('_px') else ''}"


def _rows(contents: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [
        ("folder", contents["path"]),
        ("about", contents["description"]),
        ("licence", contents["licence"]),
        ("labels", f"{len(contents['labels'])}: {', '.join(contents['labels'])}"),
        ("thresholds", ", ".join(f"{name} {value}" for name, value in contents["thresholds"].items())),
        ("input", ", ".join(_input(name, value) for name, value in contents["input"].items())),
    ]
    if "keypoints" in contents:
        names = contents["keypoints"]["names"]
        rows.append(("keypoints", f"{len(names)}: {', '.join(names)}"))
    rows += [("warning", warning) for warning in contents["warnings"]]
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
        f"{folder}  {mb['gpu']} of GPU memory at {memory['frame']}: weights {mb['weights']}, activations "
        f"{mb['activations']}, tensors {mb['tensors']}; {mb['pinned']} pinned; stream() {mb['stream']} more, "
        f"{mb['stream_pinned']} pinned"
    )
