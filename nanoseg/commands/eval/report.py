"""The report of `nanoseg eval`: figures, and what they are of."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nanoseg.bundle import Bundle
from nanoseg.doctor.machine import installed_version
from nanoseg.evaluation.coco_truth import CocoTruth
from nanoseg.evaluation.evaluation import Evaluation
from nanoseg.utils.terminal import format_number, plural, print_table

LIBRARIES = ("numpy", "onnxruntime", "onnxruntime-gpu", "tensorrt", "opencv-python", "pillow", "pycocotools")
MAX_PRINTED = 20  # categories; of more the page has a table


def make_report(evaluation: Evaluation, bundle: Bundle, run: Mapping[str, Any], note: str | None) -> dict[str, Any]:
    """Return the content of report.json.

    Args:
        evaluation: the figures.
        bundle: the bundle.
        run: how it was run: what the results depend on.
        note: what the reader of the figures should know.
    """
    truth, detected = evaluation.truth, run["prompts"] == "detected"
    return {
        "bundle": {
            "name": bundle.name,
            "version": bundle.version,
            "sha256": run["bundle_sha256"],  # of its bundle.toml, which has those of all its files
            "precisions": {name: graph.precision for name, graph in bundle.graphs.items()},
        },
        "backend": run["backend"],
        "device": run["device"],
        # ONNX Runtime computes in float32 whatever the graphs' precision is.
        "arithmetic": "float32" if run["backend"].startswith("onnxruntime") else "that of the precisions",
        "prompts": run["prompts"],
        "resize": run["resize"],
        "protocol": _protocol(run),
        "note": note,
        "thresholds": {
            "confidence": run["confidence"],
            "iou": run["iou"],
            "max_detections": bundle.max_detections,
            "miou_confidence": max(bundle.confidence, run["confidence"]),  # below either there is no detection
        }
        if detected
        else None,
        "dataset": _describe(truth, run),
        "unknown_categories": sorted(truth.present_labels - set(bundle.labels)) if detected else [],
        "detections": sum(map(len, evaluation.results.values())),
        **evaluation.to_json(),
        "environment": {
            "nanoseg": run["nanoseg"],
            "python": platform.python_version(),
            "system": f"{sys.platform} {platform.machine()}",
            **{name: version for name in LIBRARIES if (version := installed_version(name))},
        },
    }


def _protocol(run: Mapping[str, Any]) -> str:
    if run["prompts"] == "detected":
        return "COCO's figures by pycocotools; mean IoU of the masks of detections matched at box IoU 0.5"
    if run["resize"] == "nanosam":
        return "NanoSAM's"
    return f"NanoSAM's, but frames are resized as {'OpenCV' if run['resize'] == 'cv2' else 'segment-anything'} does"


def _describe(truth: CocoTruth, run: Mapping[str, Any]) -> dict[str, Any]:
    crowds = sum(one.is_crowd for image in truth.images for one in image.objects)
    return {
        "annotations": truth.annotations.name,
        "sha256": run["annotations_sha256"],
        "images": len(truth.images),
        "images_without_objects": sum(not image.objects for image in truth.images),
        "objects": sum(len(image.objects) for image in truth.images) - crowds,
        "crowds": crowds,
        "excluded": truth.excluded,  # annotations that cannot be right
    }


def print_report(report: Mapping[str, Any], page: Path | None) -> None:
    """Print a report as a table on stdout."""
    bundle, dataset = report["bundle"], report["dataset"]
    rows = []
    for name, figures in (("boxes", report["box"]), ("masks", report["mask"]), ("keypoints", report["keypoints"])):
        if figures is not None:
            rows += [(name, text) for text in _figures(figures)]
    miou = report["miou"]
    if miou is not None:
        rows.append(("mIoU", "  ".join(f"{size} {_mean(mean)}" for size, mean in miou.items())))
    categories, excluded = report["categories"], dataset["excluded"]
    if len(categories) <= MAX_PRINTED:
        rows += [(one["name"], _category(one)) for one in categories]
    rows += [
        ("protocol", report["protocol"]),
        ("note", report["note"] or ""),
        ("left out", f"{plural(excluded, 'annotation')} that cannot be right" if excluded else ""),
        ("unknown", ", ".join(report["unknown_categories"])),
        ("page", "" if page is None else str(page)),
    ]
    print_table(
        f"{bundle['name']} {bundle['version']}: {plural(dataset['images'], 'image')} of {dataset['annotations']} with "
        f"{plural(dataset['objects'], 'object')} and {plural(dataset['crowds'], 'crowd')}, {report['backend']}, "
        f"{report['device']}",
        rows,
    )


def _figures(figures: Mapping[str, float | None]) -> list[str]:
    """Return COCO's figures on two lines: precision, and recall."""
    shown = [f"{name.replace('_', ' ').upper()} {format_number(value)}" for name, value in figures.items()]
    half = len(shown) // 2
    return ["  ".join(shown[:half]), "  ".join(shown[half:])]


def _mean(mean: Mapping[str, Any]) -> str:
    return f"{format_number(mean['miou'], 4)} ({mean['objects']})"


def _category(one: Mapping[str, Any]) -> str:
    parts = [plural(one["objects"], "object")]
    parts += [f"{kind} AP {format_number(one[kind]['ap'])}" for kind in ("box", "mask") if one[kind] is not None]
    return ", ".join(parts + ([f"mIoU {_mean(one['miou']['all'])}"] if one["miou"] is not None else []))
