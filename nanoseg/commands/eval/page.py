"""The page of `nanoseg eval`: figures by size and category, and the worst cases drawn."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nanoseg.evaluation.coco_image import read_coco_image
from nanoseg.evaluation.evaluation import Evaluation
from nanoseg.evaluation.worst_cases import Case, worst_cases
from nanoseg.processing import rle
from nanoseg.sinks.mask_comparison import draw_comparison
from nanoseg.utils.html_page import Part, Picture, Section, Table, Text, html_page
from nanoseg.utils.terminal import format_number, plural

CASES = 12  # of a kind
_KINDS = {"box": "boxes", "mask": "masks"}


def page(evaluation: Evaluation, report: Mapping[str, Any], images: Path, confidence: float) -> str:
    """Return the page as the text of an HTML file that carries the report.

    Args:
        evaluation: the results.
        report: the content of report.json.
        images: the folder of the images.
        confidence: the bundle's threshold.
    """
    bundle, dataset = report["bundle"], report["dataset"]
    sections = [
        Section("", _summary(report)),
        Section("By category", [_categories(report)]),
        *_case_sections(evaluation, report, images, confidence),
        Section("How it was measured", [_conditions(report)]),
    ]
    return html_page(f"Accuracy of {bundle['name']} {bundle['version']} on {dataset['annotations']}", sections, report)


def _summary(report: Mapping[str, Any]) -> list[Part]:
    dataset = report["dataset"]
    counts = f"{plural(dataset['images'], 'image')}, {plural(dataset['objects'], 'object')}"
    parts: list[Part] = [
        Text(f"{counts}, {plural(dataset['crowds'], 'crowd')}; {report['backend']}, {report['device']}.", "soft"),
        Text(f"Protocol: {report['protocol']}."),
    ]
    if report["note"]:
        parts.append(Text(f"Note: {report['note']}.", "bad"))
    if dataset["excluded"]:
        parts.append(Text(f"{plural(dataset['excluded'], 'annotation')} that cannot be right were left out.", "note"))
    if report["unknown_categories"]:
        names = ", ".join(report["unknown_categories"])
        parts.append(
            Text(f"Categories that the bundle does not know, so that nothing of them is found: {names}.", "bad")
        )
    if report["box"] is not None:
        kinds = [kind for kind in _KINDS if report[kind] is not None]
        rows = [
            [name.replace("_", " ").upper(), *(format_number(report[kind][name]) for kind in kinds)]
            for name in report["box"]
        ]
        parts.append(Table(["", *(_KINDS[kind] for kind in kinds)], rows, "COCO's figures; AP over IoU 0.50 to 0.95"))
    if report["keypoints"] is not None:
        rows = [[name.replace("_", " ").upper(), format_number(value)] for name, value in report["keypoints"].items()]
        parts.append(Table(["", "keypoints"], rows, "COCO's figures; AP over similarities (OKS) of 0.50 to 0.95"))
    if report["miou"] is not None:
        rows = [[size, format_number(mean["miou"], 4), str(mean["objects"])] for size, mean in report["miou"].items()]
        parts.append(Table(["size", "mIoU", "annotations"], rows, "Mean IoU of masks; a border belongs to both sizes"))
    return parts


def _categories(report: Mapping[str, Any]) -> Part:
    kinds = [kind for kind in _KINDS if report[kind] is not None]
    with_masks = report["miou"] is not None
    sizes = list(report["miou"]) if with_masks else []
    head = ["category", "objects", *(f"{figure} of {_KINDS[kind]}" for kind in kinds for figure in ("AP", "AP50"))]
    rows = []
    for one in sorted(report["categories"], key=lambda one: -one["objects"]):
        values = [one[kind][figure] for kind in kinds for figure in ("ap", "ap50")]
        rows.append(
            [one["name"], str(one["objects"]), *map(format_number, values)]
            + [format_number(one["miou"][size]["miou"]) for size in sizes]
        )
    return Table(head + [f"mIoU {size}" for size in sizes], rows)


def _case_sections(evaluation: Evaluation, report: Mapping[str, Any], images: Path, confidence: float) -> list[Section]:
    names = dict(zip(evaluation.truth.category_ids, evaluation.truth.labels, strict=True))
    cases = worst_cases(evaluation, confidence, CASES, prompted=report["prompts"] == "truth")
    pixels: dict[Any, np.ndarray] = {}

    def pictures(some: Sequence[Case], value: Callable[[Case], str]) -> list[Picture]:
        drawn = []
        for case in some:
            entry = case.image.entry
            if entry.id not in pixels:
                pixels.clear()  # one at a time: cases of an image mostly follow each other
                pixels[entry.id] = read_coco_image(entry, images, evaluation.truth.annotations)
            masks = [None if mask is None else rle.decode(mask) for mask in (case.true_mask, case.found_mask)]
            jpeg = draw_comparison(pixels[entry.id], case.xywh, *masks)
            caption = f"{names[case.category_id]}, {value(case)}, {entry.file_name}"
            drawn.append(Picture(base64.b64encode(jpeg).decode(), caption))
        return drawn

    legend = Text("Green outline: the true mask. Orange: the mask that was found. White: the box.", "soft")
    every = [
        ("Masks of the lowest IoU", pictures(cases.low_iou, lambda case: f"IoU {case.value:.3f}")),
        ("The largest objects that were missed", pictures(cases.missed, lambda case: f"{case.value:.0f} px")),
        (
            "The most confident detections of nothing",
            pictures(cases.false, lambda case: f"confidence {case.value:.3f}"),
        ),
    ]
    return [Section(heading, [legend, *drawn]) for heading, drawn in every if drawn]


def _conditions(report: Mapping[str, Any]) -> Part:
    bundle, dataset = report["bundle"], report["dataset"]
    rows = [
        ["bundle", f"{bundle['name']} {bundle['version']}, bundle.toml {bundle['sha256']}"],
        ["precisions of its graphs", ", ".join(f"{name} {value}" for name, value in bundle["precisions"].items())],
        ["computed in", report["arithmetic"]],
        ["resized for the encoder as", report["resize"]],
        ["annotations", f"{dataset['annotations']}, {dataset['sha256']}"],
    ]
    if report["thresholds"] is not None:
        rows.append(["thresholds", ", ".join(f"{name} {value:g}" for name, value in report["thresholds"].items())])
    rows.append(["environment", ", ".join(f"{name} {value}" for name, value in report["environment"].items())])
    return Table(["", ""], rows)
