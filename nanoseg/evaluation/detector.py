"""How well a detector finds what labelled pictures show, as its file stands: Q/DQ and float16 are executed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nanoseg.backends.onnxruntime.engine import OrtEngine
from nanoseg.errors import BundleError, UsageError
from nanoseg.evaluation.coco import BoxScores, coco_map_parts
from nanoseg.evaluation.scenes import Scenes, classes_by_name
from nanoseg.onnx_graphs.deploy.compose import metadata_labels
from nanoseg.onnx_graphs.deploy.detect import detect_graph
from nanoseg.onnx_graphs.fp16.emulate import emulate_fp16
from nanoseg.onnx_graphs.model.contract import SourceNetwork
from nanoseg.processing.geometry import CELL_PX, Geometry
from nanoseg.processing.nms import finish
from nanoseg.processing.preprocess import Preparer

if TYPE_CHECKING:
    import onnx

# As COCO's figures are mostly taken: nearly all that the network says counts.
CONFIDENCE, IOU, ROWS = 0.01, 0.7, 300
RESCALE = "rescale_px"  # what exporters call it in a detector's metadata
PARTS = 10  # of the pictures, left out in turn, to see how much hangs on which they are
KEPT_BYTES = 1 << 29  # of prepared pictures, so that measuring again needs not make them again


class Boxes(NamedTuple):
    """What a picture shows, or what was found in it, in pixels of the picture."""

    xyxy: np.ndarray
    class_id: np.ndarray
    confidence: np.ndarray


class DetectorScores(NamedTuple):
    """mAP of one file, and again with each tenth of the pictures left out, or each of them where they are fewer."""

    scores: BoxScores
    without: list[BoxScores]


def map_drop(before: DetectorScores, after: DetectorScores) -> tuple[float, float | None]:
    """Points of mAP50-95 lost between two files on the same pictures, and the standard error of that.

    The error is the jackknife's: what leaving out each tenth of the pictures changes tells what others would have
    given (Efron, 1982). It is None where a tenth holds all the truth there is.
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


def detector_preparer(detector: SourceNetwork, rescale_px: int) -> Preparer:
    """What makes the detector's input; raises UsageError where the picture would not fit into it.

    The detector's metadata tells it from now on: whoever makes a bundle of its offspring has neither form nor flag.
    """
    side = detector.dims["S"]
    if not 1 <= rescale_px <= side:
        raise UsageError(f"--rescale: wanted 1 to {side}, the side of the detector's input, got {rescale_px}")
    told = [entry for entry in detector.model.metadata_props if entry.key != RESCALE]
    del detector.model.metadata_props[:]
    detector.model.metadata_props.extend(told)
    detector.model.metadata_props.add(key=RESCALE, value=str(rescale_px))
    return Preparer(side, rescale_px, CELL_PX)  # there is no encoder: its input is made as small as can be


def match_classes(scenes: Scenes, detector: SourceNetwork, source: str) -> np.ndarray:
    """The detector's number of each of the scenes' classes, found by name.

    Without names in the detector's file the order is taken for the same. Raises UsageError where the detector lacks one
    that the scenes show.
    """
    names, classes = metadata_labels(detector), detector.dims["C"]
    if names is not None and len(names) != classes:
        raise BundleError(f"{detector.path}: wanted {classes} labels, one a class, got {len(names)}; export it anew")
    advice = "give what it was trained for, or, to calibrate alone, a folder of pictures without --annotations"
    if names is None:
        if len(scenes.labels) != classes:
            raise UsageError(
                f"{source}: wanted the {classes} classes of {detector.path}, whose names nobody told, "
                f"got {len(scenes.labels)}; {advice}"
            )
        return np.arange(classes)
    numbers, strange = classes_by_name(scenes.labels, scenes.shown, names)
    if strange:
        more = f" and {len(strange) - 3} more" if len(strange) > 3 else ""
        raise UsageError(
            f"{source}: wanted classes of {detector.path} ({', '.join(names[:3])} ...), "
            f"got {', '.join(strange[:3])}{more}; {advice}"
        )
    return numbers


class LabelledImages:
    """Scenes as the detector sees them, with their truth; the first of them are kept, as bytes."""

    def __init__(self, scenes: Scenes, indices: Sequence[int], classes: np.ndarray, preparer: Preparer) -> None:
        """`classes` has the detector's number of each of the scenes' classes."""
        self._scenes, self._indices, self._classes, self._preparer = scenes, indices, classes, preparer
        self._kept: dict[int, tuple[np.ndarray, Geometry, Boxes]] = {}

    def __len__(self) -> int:
        return len(self._indices)

    def __iter__(self) -> Iterator[tuple[np.ndarray, Geometry, Boxes]]:
        """(1, 3, S, S) float32, valid until the next, where the picture lies in it, and what it shows."""
        for index in self._indices:
            if index in self._kept:
                levels, geometry, truth = self._kept[index]
                yield levels.astype(np.float32) / np.float32(255), geometry, truth
                continue
            scene = self._scenes[index]
            truth = Boxes(scene.xyxy, self._classes[scene.class_id], np.ones(len(scene.xyxy), np.float32))
            images, _, geometry = self._preparer(scene.image)
            if (len(self._kept) + 1) * images.size <= KEPT_BYTES:
                # Whole levels of 255 were what it was made of, so nothing is lost.
                self._kept[index] = (np.rint(images * 255).astype(np.uint8), geometry, truth)
            yield images, geometry, truth


def measure_map(
    detector: SourceNetwork,
    model: onnx.ModelProto,
    pictures: LabelledImages,
    advance: Callable[[], None] = lambda: None,
) -> DetectorScores:
    """COCO's mAP of `model`, which is the detector in another precision; `advance` is called after each picture.

    Raises BundleError or EngineError where it does not run.
    """
    graph = detect_graph(replace(detector, model=emulate_fp16(model)), ROWS)
    engine = OrtEngine(graph.SerializeToString(), as_stored=True, name=detector.path.name)
    thresholds = {"confidence": np.array(CONFIDENCE, np.float32), "iou": np.array(IOU, np.float32)}
    truths, found = [], []
    try:
        for images, geometry, truth in pictures:
            out = engine({"images": images, "geometry": geometry.vector(), **thresholds})
            kept: np.ndarray | slice = slice(int(out["count"]))
            if int(out["unconverged"]):
                kept = finish(out["boxes"], out["scores"], out["class_ids"], CONFIDENCE, IOU)
            truths.append(truth)
            boxes = geometry.clip(out["boxes"][kept])
            found.append(Boxes(boxes, out["class_ids"][kept], out["scores"][kept]))
            advance()
    finally:
        engine.close()
    # A part without a picture would leave nothing out, and the error be told too small.
    return DetectorScores(*coco_map_parts(truths, found, min(PARTS, len(truths))))
