"""Measure a detector's mAP on labelled images in its file's precision: Q/DQ nodes and float16 rounding are run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

from nanoseg.backends.onnxruntime.engine import OrtEngine
from nanoseg.backends.onnxruntime.without_nms import CANDIDATES, without_nms
from nanoseg.errors import BundleError, UsageError
from nanoseg.evaluation.coco import BoxScores, coco_map_parts
from nanoseg.evaluation.scenes import Crowds, SceneBoxes, Scenes, match_labels
from nanoseg.onnx_graphs.deploy.detect import detect_graph
from nanoseg.onnx_graphs.deploy.detector_metadata import metadata_labels, padding_of
from nanoseg.onnx_graphs.fp16.emulate import emulate_fp16
from nanoseg.onnx_graphs.model.contract import SourceNetwork
from nanoseg.processing.boxes import Boxes
from nanoseg.processing.geometry import CELL_PX, Geometry
from nanoseg.processing.nms import DEFAULT_CANDIDATES, RawDetections, from_candidates
from nanoseg.processing.preprocess import Preprocessor

if TYPE_CHECKING:
    import onnx

# As is usual for COCO's mAP, and as super-gradients does: nearly every box of the network counts.
CONFIDENCE, IOU, MAX_DETECTIONS = 0.01, 0.7, 300
RESCALE = "rescale_px"  # key of a detector's metadata
PARTS = 10  # of the images; each is left out once for the standard error
CACHE_BYTES = 1 << 29  # of preprocessed images, which several measurements share


class DetectorScores(NamedTuple):
    """mAP on all images, and with each tenth of them (each one, where they are fewer) left out."""

    scores: BoxScores
    without: list[BoxScores]


def map_drop(before: DetectorScores, after: DetectorScores) -> tuple[float, float | None]:
    """Return the points of mAP50-95 (0 to 100) lost between two networks on the same images, and the standard error.

    The error is the jackknife's over tenths of the images (Efron, 1982): an estimate of the spread over other images.
    It is None where a single tenth has all the objects.
    """
    pairs = [(before.scores, after.scores), *zip(before.without, after.without, strict=True)]
    drops = [
        100 * (one.map50_95 - other.map50_95)
        for one, other in pairs
        if one.map50_95 is not None and other.map50_95 is not None
    ]
    if len(drops) < len(pairs):
        return (drops[0] if before.scores.map50_95 is not None else 0.0), None
    return drops[0], float(np.sqrt((len(drops) - 2) * np.var(drops[1:])))


def detector_preprocessor(detector: SourceNetwork, rescale_px: int) -> Preprocessor:
    """Return the preprocessor of a detector's input, and write `rescale_px` to the detector's metadata.

    A bundle made of a network derived from it then needs neither detector spec nor flag.

    Raises:
        UsageError: `rescale_px` is larger than the input.
    """
    side = detector.dims["S"]
    if not 1 <= rescale_px <= side:
        raise UsageError(f"--rescale: wanted 1 to {side}, the side of the detector's input, got {rescale_px}")
    metadata = [entry for entry in detector.model.metadata_props if entry.key != RESCALE]
    del detector.model.metadata_props[:]
    detector.model.metadata_props.extend(metadata)
    detector.model.metadata_props.add(key=RESCALE, value=str(rescale_px))
    # Without an encoder its input is as small as it can be.
    return Preprocessor(side, rescale_px, CELL_PX, padding=padding_of(detector))


def match_classes(scenes: Scenes, detector: SourceNetwork, source: str) -> np.ndarray:
    """Return the detector's class id of each of the scenes' classes, matched by name.

    Without names in the detector's file both orders are assumed to be the same.

    Args:
        scenes: the labelled images.
        detector: the detector.
        source: name of the scenes in messages.

    Raises:
        BundleError: the detector has another number of labels than classes.
        UsageError: the scenes have a class that the detector does not have.
    """
    names = metadata_labels(detector)
    classes = detector.dims.get("C", len(names or scenes.labels))  # an end-to-end detector's outputs do not say
    if names is not None and len(names) != classes:
        raise BundleError(f"{detector.path}: wanted {classes} labels, one a class, got {len(names)}; export it anew")
    advice = "give images of its classes, or, to calibrate without measuring, a folder of images without --annotations"
    if names is None:
        if len(scenes.labels) != classes:
            raise UsageError(
                f"{source}: wanted the {classes} classes of {detector.path}, which has no labels, "
                f"got {len(scenes.labels)}; {advice}"
            )
        return np.arange(classes)
    class_ids, unknown = match_labels(scenes.labels, scenes.present_labels, names)
    if unknown:
        more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        raise UsageError(
            f"{source}: wanted classes of {detector.path} ({', '.join(names[:3])} ...), "
            f"got {', '.join(unknown[:3])}{more}; {advice}"
        )
    return class_ids


class DetectorInputs:
    """Scenes as the detector's inputs with their ground truth; the first of them are cached as bytes."""

    def __init__(self, scenes: Scenes, indices: Sequence[int], classes: np.ndarray, preprocessor: Preprocessor) -> None:
        """Wrap some scenes; `classes` has the detector's class id of each of the scenes' classes."""
        self._scenes, self._indices, self._classes, self._preprocessor = scenes, indices, classes, preprocessor
        self._cache: dict[int, tuple[np.ndarray, Geometry, SceneBoxes]] = {}

    def __len__(self) -> int:
        return len(self._indices)

    def __iter__(self) -> Iterator[tuple[np.ndarray, Geometry, SceneBoxes]]:
        """Yield the input (1, 3, S, S) float32, valid until the next one, its geometry and the true boxes."""
        for index in self._indices:
            if index in self._cache:
                levels, geometry, truth = self._cache[index]
                yield levels.astype(np.float32) / np.float32(255), geometry, truth
                continue
            scene = self._scenes[index]
            crowds = Crowds(scene.crowds.xyxy, self._classes[scene.crowds.class_id])
            truth = SceneBoxes(scene.xyxy, self._classes[scene.class_id], crowds)
            frame = self._preprocessor(scene.image)
            images, geometry = frame.images, frame.geometry
            if (len(self._cache) + 1) * images.size <= CACHE_BYTES:
                # It was computed from integer levels, so that nothing is lost.
                self._cache[index] = (np.rint(images * 255).astype(np.uint8), geometry, truth)
            yield images, geometry, truth


def measure_map(
    detector: SourceNetwork,
    model: onnx.ModelProto,
    images: DetectorInputs,
    advance: Callable[[], None] = lambda: None,
) -> DetectorScores:
    """Measure COCO's mAP of a detector.

    Args:
        detector: the detector, for its dims and file name.
        model: the detector in the precision to measure.
        images: the labelled images.
        advance: called after each image.

    Raises:
        BundleError: the graph cannot be composed.
        EngineError: it does not load or run.
    """
    graph = detect_graph(replace(detector, model=emulate_fp16(model)), MAX_DETECTIONS, DEFAULT_CANDIDATES)
    engine = OrtEngine(without_nms(graph.SerializeToString()), as_stored=True, name=detector.path.name)
    thresholds = {"confidence": np.array(CONFIDENCE, np.float32), "iou": np.array(IOU, np.float32)}
    truths, found = [], []
    try:
        for batch, geometry, truth in images:
            out = engine({"images": batch, "geometry": geometry.vector(), **thresholds})
            if CANDIDATES in out:
                raw = from_candidates(
                    out[CANDIDATES], geometry, confidence=CONFIDENCE, iou=IOU, max_detections=MAX_DETECTIONS
                )
            else:
                raw = cast(RawDetections, out)
            kept = slice(int(raw["count"]))
            truths.append(truth)
            found.append(Boxes(geometry.clip(raw["boxes"][kept]), raw["scores"][kept], raw["class_ids"][kept]))
            advance()
    finally:
        engine.close()
    # A part without an image would leave nothing out and make the error too small.
    return DetectorScores(*coco_map_parts(truths, found, min(PARTS, len(truths))))
