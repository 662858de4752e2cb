"""`nanoseg info`: what a bundle holds."""

from __future__ import annotations

from typing import Any

import msgspec

from nanoseg.bundle import Bundle, open_bundle
from nanoseg.terminal import figure, say_json, say_table

FIGURES = ("map50_95", "map50", "miou")


def info(name_or_path: str, as_json: bool = False) -> None:
    """Verify a bundle and tell what is in it. Raises BundleError."""
    bundle = open_bundle(name_or_path)
    if as_json:
        say_json(describe(bundle))
    else:
        say_table(f"{bundle.name} {bundle.version}", _rows(describe(bundle)))


def describe(bundle: Bundle) -> dict[str, Any]:
    """What `nanoseg info --json` prints; figures that nobody measured are null."""
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
        "engines": [],
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
        figures = ", ".join(f"{name} {figure(scores[name])}" for name in FIGURES)
        measured = any(scores[name] is not None for name in FIGURES)
        rows.append((f"accuracy {kind}", figures if measured else "not measured"))
    return rows
