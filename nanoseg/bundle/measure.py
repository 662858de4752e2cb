"""What measure_bundle.py does: run a bundle in each of its forms, and hold what it finds to the pictures' truth."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from nanoseg.backends.onnxruntime.pipeline import OrtPipeline
from nanoseg.backends.select import open_engines
from nanoseg.bundle.manifest import Accuracy, AccuracyTable, Bundle, open_bundle
from nanoseg.commands.demo import Scores, Shots
from nanoseg.errors import BundleError, SourceError, UsageError
from nanoseg.evaluation.scenes import classes_by_name, open_scenes
from nanoseg.evaluation.split import split
from nanoseg.segmenter import Segmenter
from nanoseg.sources.simulator.line import LABELS, Truth
from nanoseg.utils.files import check_writable, file_ids, write_atomic, write_errors
from nanoseg.utils.terminal import plural, print_table, progress_bar

FLOAT, DEPLOYED, CPU = "float32", "deployed", "cpu"


@dataclass(frozen=True)
class Pictures:
    """What to measure on."""

    dataset: str  # for people
    count: int
    labels: tuple[str, ...]
    shown: Collection[str]  # those of them that something in the pictures may have
    picture: Callable[[int], tuple[np.ndarray, Truth]]  # (H, W, 3) uint8 BGR, and what it shows


def run(options: argparse.Namespace) -> None:
    """Measure, tell, and write --out; raises NanosegError."""
    if options.frames < 1:
        raise UsageError(f"--frames: wanted 1 or more, got {options.frames}")
    if options.out is not None:
        check_writable(options.out)
        if options.annotations is not None and file_ids([options.out]) & file_ids([options.annotations]):
            raise UsageError(f"--out: {options.out} is what --annotations names; give another name")
    bundle = open_bundle(options.bundle)
    floats = None if options.float is None else open_bundle(options.float)
    pictures = pictures_of(options.images, options.annotations, options.frames)
    measured = measure(bundle, floats, pictures)
    told = {name: (*figures(one), lost(measured.get(FLOAT), one)) for name, one in measured.items()}
    rows = [(name, ", ".join(filter(None, parts))) for name, parts in told.items()]
    print_table(f"{bundle.name} {bundle.version}: {plural(pictures.count, 'picture')} of {pictures.dataset}", rows)
    if options.out is not None:
        table = AccuracyTable(float32=measured.get(FLOAT), deployed=measured[DEPLOYED])
        write_atomic(options.out, msgspec.json.format(msgspec.json.encode(table)) + b"\n", guard=write_errors)


def measure(bundle: Bundle, floats: Bundle | None, pictures: Pictures) -> dict[str, Accuracy]:
    """Figures by FLOAT, where there is such a bundle, DEPLOYED, and CPU where that is another.

    All at the bundle's own thresholds. Raises BundleError for bundles that do not fit, SourceError for pictures that
    show nothing.
    """
    classes = _classes(bundle, pictures)
    if floats is not None and (_reduced(floats) or floats.labels != bundle.labels):
        raise BundleError(f"{floats.path}: wanted the labels of {bundle.path} and float32 in all its graphs")
    with ExitStack() as stack:
        ways: dict[str, Segmenter] = {}

        def add(name: str, opened: Bundle, rounded: bool = False) -> None:
            engines = open_engines(opened, "onnxruntime", rounded=rounded)
            segmenter = Segmenter(opened, OrtPipeline(opened, engines), confidence=bundle.confidence, iou=bundle.iou)
            ways[name] = stack.enter_context(segmenter)

        if floats is not None:
            add(FLOAT, floats)
        add(DEPLOYED, bundle, rounded=_reduced(bundle))
        if _reduced(bundle):
            add(CPU, bundle)
        scores = _scores(ways, pictures, classes)
    measured = {name: _accuracy(one, pictures) for name, one in scores.items()}
    if floats is None and not _reduced(bundle):
        measured = {FLOAT: measured[DEPLOYED], **measured}
    return measured


def pictures_of(images: str | None, annotations: Path | None, count: int) -> Pictures:
    """At most `count` pictures with truth; the demo's frames where no `images` are given.

    Raises UsageError for pictures without truth, SourceError for some that cannot be read.
    """
    if images is None:
        if annotations is not None:
            raise UsageError("--annotations: wanted with --images, the folder of its pictures")
        shots = Shots()

        def shot(index: int) -> tuple[np.ndarray, Truth]:
            return shots.frame(index).image, shots.truth(index)

        return Pictures("nanoseg demo's test lines", count, tuple(LABELS), LABELS, shot)
    parted = split(open_scenes(images, annotations), 0, count)
    if not parted.judge_on:
        raise UsageError(f"--images: nobody told what is in {images}; give --annotations, a file in COCO's format")

    def picture(index: int) -> tuple[np.ndarray, Truth]:
        scene = parted.judge[parted.judge_on[index]]
        return scene.image, Truth(scene.xyxy, scene.class_id, np.arange(len(scene.xyxy)), scene.masks())

    dataset = "the simulated line's validation lines" if annotations is None else annotations.name
    return Pictures(dataset, len(parted.judge_on), parted.judge.labels, parted.judge.shown, picture)


def figures(one: Accuracy) -> tuple[str, ...]:
    """For people."""
    return f"mAP50-95 {one.map50_95:.4f}", f"mAP50 {one.map50:.4f}", f"mIoU {one.miou:.4f}"


def lost(floats: Accuracy | None, one: Accuracy) -> str:
    """What it costs against float32, for people."""
    if floats is None or one is floats:
        return ""
    return (
        f"costs {100 * (floats.map50_95 - one.map50_95):.2f} points of mAP50-95, {floats.miou - one.miou:.4f} of mIoU"
    )


def _scores(ways: Mapping[str, Segmenter], pictures: Pictures, classes: np.ndarray) -> dict[str, Scores]:
    scores = {name: Scores() for name in ways}
    with progress_bar(f"{pictures.dataset}, {', '.join(ways)}", pictures.count) as advance:
        for index in range(pictures.count):
            image, truth = pictures.picture(index)
            truth = Truth(truth.xyxy, classes[truth.class_id], truth.track_id, truth.masks)
            for name, segmenter in ways.items():
                scores[name].add(truth, segmenter(image))
            advance()
    return scores


def _accuracy(scores: Scores, pictures: Pictures) -> Accuracy:
    got = scores.result()
    if got["map50_95"] is None or got["map50"] is None or got["miou"] is None:
        raise SourceError(f"{pictures.dataset}: wanted pictures with objects in them, got {pictures.count} without")
    return Accuracy(got["map50_95"], got["map50"], got["miou"], dataset=pictures.dataset, images=pictures.count)


def _classes(bundle: Bundle, pictures: Pictures) -> np.ndarray:
    """The bundle's class ids by the pictures'."""
    classes, unknown = classes_by_name(pictures.labels, pictures.shown, bundle.labels)
    if unknown:
        raise BundleError(
            f"{bundle.path}: wanted the labels of {pictures.dataset}, has none called {', '.join(unknown)}; "
            "measure it on pictures of what it was made for: --images, --annotations"
        )
    return classes


def _reduced(bundle: Bundle) -> bool:
    return any(graph.precision != "fp32" for graph in bundle.graphs.values())
