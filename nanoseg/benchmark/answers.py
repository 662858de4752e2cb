"""Whether engines give the answers of their bundle's reference frames, within what precision and device may change.

FP16 and INT8 kernels of another device round elsewhere. So only objects count that the bundle itself found stable and
well above its threshold, and one in ten may be missed. A wrong network, colour order or scale misses far more.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np

from nanoseg.bundle.reference import MAX_OBJECTS, Reference, ReferenceFrame, ReferenceObject
from nanoseg.evaluation.miou import mask_iou
from nanoseg.processing import rle
from nanoseg.processing.boxes import box_iou
from nanoseg.segmenter import Segmenter
from nanoseg.types import Detections

MARGIN = 0.1  # above the confidence threshold: nearer to it an object may be there or not
MIN_BOX_IOU, MIN_MASK_IOU, MAX_CONFIDENCE_CHANGE = 0.9, 0.9, 0.15
KNOWN_IOU = 0.5  # of a found box with one of the reference, for it to be no other object
MAX_WRONG = 0.1  # of the objects


class Answers(msgspec.Struct, frozen=True):
    """How engines answered on the reference frames."""

    checked: bool  # whether there was something to check
    right: bool  # where nothing was checked, false
    summary: str
    frames: int = 0
    expected: int = 0  # stable objects well above the threshold
    matched: int = 0  # of those
    unexpected: int = 0  # objects well above the threshold that the reference does not have
    box_iou: float | None = None  # mean over the matched
    mask_iou: float | None = None


def check_answers(segmenter: Segmenter, reference: Reference | None) -> Answers:
    """Run a segmenter on reference frames and compare.

    Args:
        segmenter: The segmenter, of the reference's bundle.
        reference: The reference; None: the bundle has none.

    Raises:
        BundleError: A picture cannot be decoded.
        EngineError: A graph fails.
    """
    if reference is None:
        return Answers(False, False, "not checked: the bundle has no reference frames (nanoseg bundle reference)")
    expected = matched = unexpected = 0
    boxes: list[float] = []
    masks: list[float] = []
    least = reference.confidence + MARGIN
    for frame in reference.frames:
        found = segmenter(frame.image(), confidence=reference.confidence, max_objects=MAX_OBJECTS)
        wanted = [each for each in frame.objects if each.stable and each.confidence >= least]
        pairs = list(_matches(frame, wanted, found))
        expected, matched = expected + len(wanted), matched + len(pairs)
        boxes += [pair[0] for pair in pairs]
        masks += [pair[1] for pair in pairs]
        unexpected += _count_unexpected(frame, found, least)
    if not expected:
        return Answers(False, False, "not checked: the bundle's reference frames have no stable object")
    right = matched >= (1 - MAX_WRONG) * expected and unexpected <= MAX_WRONG * expected
    summary = f"{matched} of {expected} objects of the reference frames found"
    if unexpected:
        summary += f", and {unexpected} that they do not have"
    return Answers(
        True,
        right,
        summary,
        len(reference.frames),
        expected,
        matched,
        unexpected,
        round(float(np.mean(boxes)), 4) if boxes else None,
        round(float(np.mean(masks)), 4) if masks else None,
    )


def _matches(frame: ReferenceFrame, wanted: list[ReferenceObject], found: Detections) -> Iterator[tuple[float, float]]:
    """Yield the IoU of box and mask of each wanted object that is found."""
    overlap = box_iou(_boxes(wanted), found.xyxy)
    for each, row in zip(wanted, overlap, strict=True):
        near = (found.class_id == each.class_id) & (row >= MIN_BOX_IOU)
        near &= np.abs(found.confidence - each.confidence) <= MAX_CONFIDENCE_CHANGE
        if not near.any():
            continue
        index = int(np.where(near, row, -1).argmax())
        mask = rle.decode({"size": frame.size_wh[::-1], "counts": each.mask}).astype(bool)
        share = mask_iou(mask, found.masks.select(np.array([index])).full()[0], empty=1.0)
        if share >= MIN_MASK_IOU:
            yield float(row[index]), share


def _count_unexpected(frame: ReferenceFrame, found: Detections, least: float) -> int:
    """Return the number of found objects, well above the threshold, that the reference does not have."""
    if len(frame.objects) >= MAX_OBJECTS:  # it was cut there: less confident ones are not in it
        least = max(least, frame.objects[-1].confidence + MARGIN)
    known = box_iou(found.xyxy, _boxes(frame.objects)) >= KNOWN_IOU
    known &= found.class_id[:, None] == np.array([each.class_id for each in frame.objects], np.int64)
    return int(((found.confidence >= least) & ~known.any(1)).sum())


def _boxes(objects: list[ReferenceObject]) -> np.ndarray:
    return np.array([each.xyxy for each in objects], np.float32).reshape(-1, 4)
