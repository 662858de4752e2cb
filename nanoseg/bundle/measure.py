"""Accuracy of a bundle: in float32, as deployed in its own precisions, and as a CPU runs it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nanoseg.backends.onnxruntime.pipeline import OrtPipeline
from nanoseg.backends.select import open_engines
from nanoseg.bundle.bundle import Bundle
from nanoseg.bundle.manifest import Accuracy
from nanoseg.errors import BundleError, SourceError, UsageError
from nanoseg.evaluation.accuracy import AccuracyMeter
from nanoseg.evaluation.coco_scenes import CocoScenes
from nanoseg.evaluation.open_scenes import open_scenes
from nanoseg.evaluation.scenes import Crowds, SceneMasks, match_labels
from nanoseg.evaluation.split import split_scenes
from nanoseg.segmenter import Segmenter
from nanoseg.sources.simulator.demo_lines import DemoLines
from nanoseg.sources.simulator.line import LABELS

FLOAT32, DEPLOYED, CPU = "float32", "deployed", "cpu"


@dataclass(frozen=True)
class LabelledImages:
    """Images with ground truth to measure on."""

    dataset: str  # its name, for reports
    count: int
    labels: tuple[str, ...]
    present: Collection[str]  # the labels that objects in the images may have
    excluded: int  # objects of the ground truth that were left out, as they cannot be right
    load: Callable[[int], tuple[np.ndarray, SceneMasks]]  # index -> (H, W, 3) uint8 BGR, and its ground truth


def measure_bundle(
    bundle: Bundle,
    images: LabelledImages,
    float_bundle: Bundle | None = None,
    *,
    advance: Callable[[], None] = lambda: None,
) -> dict[str, Accuracy]:
    """Measure a bundle with ONNX Runtime, at its own thresholds.

    Args:
        bundle: the bundle.
        images: the images to measure on.
        float_bundle: the same bundle in float32, to compare with.
        advance: called after each image.

    Returns:
        Accuracy by FLOAT32, where there is a bundle in float32, DEPLOYED, with every number rounded as in the
        graphs' precision, and CPU, where a CPU runs the graphs in another precision.

    Raises:
        BundleError: the two bundles differ in their labels, or lack a label of the images.
        SourceError: an image cannot be read, or none has an object.
    """
    class_ids = _class_ids(bundle, images)
    if float_bundle is not None and (_is_reduced(float_bundle) or float_bundle.labels != bundle.labels):
        raise BundleError(f"{float_bundle.path}: wanted the labels of {bundle.path} and float32 in all its graphs")
    with ExitStack() as stack:
        segmenters: dict[str, Segmenter] = {}

        def add(name: str, opened: Bundle, rounded: bool = False) -> None:
            engines = open_engines(opened, "onnxruntime", rounded=rounded)
            segmenter = Segmenter(opened, OrtPipeline(opened, engines), confidence=bundle.confidence, iou=bundle.iou)
            segmenters[name] = stack.enter_context(segmenter)

        if float_bundle is not None:
            add(FLOAT32, float_bundle)
        add(DEPLOYED, bundle, rounded=_is_reduced(bundle))
        if _is_reduced(bundle):
            add(CPU, bundle)
        meters = _run(segmenters, images, class_ids, advance)
    measured = {name: _accuracy(meter, images) for name, meter in meters.items()}
    if float_bundle is None and not _is_reduced(bundle):
        measured = {FLOAT32: measured[DEPLOYED], **measured}
    return measured


def open_labelled_images(source: str | None, annotations: Path | None, limit: int) -> LabelledImages:
    """Open at most `limit` images with ground truth.

    Args:
        source: the folder of the annotations' images, or parts://; None for the frames of `nanoseg demo`.
        annotations: a file in COCO's format.
        limit: maximum number of images.

    Raises:
        UsageError: the images have no ground truth.
        SourceError: the images or annotations cannot be read.
    """
    if source is None:
        if annotations is not None:
            raise UsageError("--annotations: wanted with --images, the folder of its images")
        lines = DemoLines()

        def load_frame(index: int) -> tuple[np.ndarray, SceneMasks]:
            truth = lines.truth(index)
            return lines.frame(index).image, SceneMasks(truth.xyxy, truth.class_id, truth.masks)

        return LabelledImages("nanoseg demo's test lines", limit, tuple(LABELS), LABELS, 0, load_frame)
    parts = split_scenes(open_scenes(source, annotations), 0, limit)
    scenes, indices = parts.evaluation, parts.evaluation_indices
    if not indices:
        raise UsageError(f"--images: no ground truth for {source}; give --annotations, a file in COCO's format")

    if isinstance(scenes, CocoScenes):
        scenes.exclude_invalid_masks(indices)

    def load_scene(index: int) -> tuple[np.ndarray, SceneMasks]:
        scene = scenes[indices[index]]
        return scene.image, SceneMasks(scene.xyxy, scene.class_id, scene.masks(), scene.crowds)

    dataset = "the simulated line's validation lines" if annotations is None else annotations.name
    return LabelledImages(
        dataset, len(indices), scenes.labels, scenes.present_labels, getattr(scenes, "excluded", 0), load_scene
    )


def _run(
    segmenters: Mapping[str, Segmenter], images: LabelledImages, class_ids: np.ndarray, advance: Callable[[], None]
) -> dict[str, AccuracyMeter]:
    meters = {name: AccuracyMeter() for name in segmenters}
    for index in range(images.count):
        image, truth = images.load(index)
        crowds = Crowds(truth.crowds.xyxy, class_ids[truth.crowds.class_id])
        truth = truth._replace(class_id=class_ids[truth.class_id], crowds=crowds)
        for name, segmenter in segmenters.items():
            meters[name].add(truth, segmenter(image))
        advance()
    return meters


def _accuracy(meter: AccuracyMeter, images: LabelledImages) -> Accuracy:
    result = meter.result()
    if result["map50_95"] is None or result["map50"] is None or result["miou"] is None:
        raise SourceError(f"{images.dataset}: wanted images with objects in them, got {images.count} without")
    return Accuracy(
        result["map50_95"],
        result["map50"],
        result["miou"],
        dataset=images.dataset,
        images=images.count,
        excluded=images.excluded,
    )


def _class_ids(bundle: Bundle, images: LabelledImages) -> np.ndarray:
    """Return the bundle's class ids by the images' class ids, (C,) int64."""
    class_ids, unknown = match_labels(images.labels, images.present, bundle.labels)
    if unknown:
        raise BundleError(
            f"{bundle.path}: wanted the labels of {images.dataset}, has none called {', '.join(unknown)}; "
            "measure it on labelled images of its own classes: --images, --annotations"
        )
    return class_ids


def _is_reduced(bundle: Bundle) -> bool:
    return any(graph.precision != "fp32" for graph in bundle.graphs.values())
