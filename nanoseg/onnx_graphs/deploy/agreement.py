"""Compare a network's outputs as stored, which is what TensorRT computes, with those that a CPU computes without Q/DQ.

Stripping Q/DQ nodes hides what their rounding does: a detector whose scores all round to 0 finds objects on a laptop
and none on the device. And a network that is dead gives the same outputs whatever it sees.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from nanoseg.processing.boxes import box_iou

# The demo's INT8 detector, on the built-in images: 5.6 %, 0.979; its float16 encoder: 0.1 %. A float16 ResNet18 of
# random weights, whose embeddings hardly depend on the image, has an error of 46 %; one that is constant 100 %.
MAX_SCORE_DIFFERENCE, MIN_BOX_IOU, MAX_ERROR = 0.3, 0.7, 0.7
# The demo's detector, calibrated on black images: 94 %; on 4 good ones 5 %, on noise 12 %, on dark ones 53 %.
MAX_SCORE_DIFFERENCE_ELSEWHERE = 0.75
# Twice a sigma of OKS: a keypoint of the face that is this far off is lost, one of the hips is not.
MAX_KEYPOINT_SHIFT = 0.1
CANDIDATES = 50  # of an image, in either form: those with the best scores
MIN_SCORE = 0.05  # scores below are background
MIN_BEST_SCORE = 0.01  # rounding to UINT8 alone makes 0 of scores below 0.002
DEAD = 1e-5  # outputs that change by less, relative to the largest, do not depend on the input
Rows = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class DetectorAgreement:
    """Difference between two forms of a detector on some images."""

    images: int
    score_difference: float | None  # sum of |a - b| over sum of max(a, b), of candidates; None where there is none
    box_iou: float | None  # mean of the candidates, weighted by score
    best_score: float  # as a CPU computes it
    best_stored_score: float
    # How far the candidates' keypoints move, in the square root of the box's area; mean weighted by score. None where
    # the detector has none.
    keypoint_shift: float | None = None

    @property
    def problem(self) -> str:
        """What differs by more than the limits, else an empty string."""
        stored, best = self.best_stored_score, self.best_score
        if best >= MIN_BEST_SCORE and stored < best / 2:
            return f"the best score is {stored:.3f}, but {best:.3f} without the rounding: it would find nothing"
        if self.score_difference is not None and self.score_difference > MAX_SCORE_DIFFERENCE:
            most = f"at most {MAX_SCORE_DIFFERENCE:.0%}"
            return f"scores differ by {self.score_difference:.0%} ({most}) from those without the rounding"
        if self.box_iou is not None and self.box_iou < MIN_BOX_IOU:
            return f"boxes have a mean IoU of {self.box_iou:.2f} (at least {MIN_BOX_IOU:.2f}) with those without it"
        if self.keypoint_shift is not None and self.keypoint_shift > MAX_KEYPOINT_SHIFT:
            most = f"at most {MAX_KEYPOINT_SHIFT:.0%}"
            return f"keypoints are {self.keypoint_shift:.0%} of the box's size ({most}) from those without the rounding"
        return ""

    @property
    def severe_problem(self) -> str:
        """The same for images of another kind than the network was calibrated for, where only the worst counts."""
        if self.score_difference is not None and self.score_difference > MAX_SCORE_DIFFERENCE_ELSEWHERE:
            return self.problem
        return ""

    def __str__(self) -> str:
        if self.score_difference is None or self.box_iou is None:
            return f"no score reaches {MIN_SCORE} in {self.images} images"
        text = f"scores differ by {self.score_difference:.1%}, boxes have a mean IoU of {self.box_iou:.3f}"
        shift = self.keypoint_shift
        return text if shift is None else f"{text}, keypoints move by {shift:.1%} of the box's size"


def compare_detections(
    exact: Iterable[tuple[np.ndarray, ...]], stored: Iterable[tuple[np.ndarray, ...]]
) -> DetectorAgreement:
    """Compare boxes (A, 4), scores (A, C) and, of poses, keypoints (A, J, 3) of the same images.

    Args:
        exact: as computed without rounding.
        stored: as stored.
    """
    images, difference, total, overlap, shift = 0, 0.0, 0.0, 0.0, 0.0
    best, best_stored, has_keypoints = 0.0, 0.0, False
    for (exact_boxes, exact_scores, *exact_poses), (boxes, scores, *poses) in zip(exact, stored, strict=True):
        a, b = exact_scores.ravel(), scores.ravel()
        chosen = np.union1d(np.argsort(a)[-CANDIDATES:], np.argsort(b)[-CANDIDATES:])
        chosen = chosen[np.maximum(a, b)[chosen] >= MIN_SCORE]
        weight, anchors = np.maximum(a, b)[chosen], chosen // scores.shape[1]
        difference += float(np.abs(a - b)[chosen].sum())
        total += float(weight.sum())
        overlap += float((weight * _pair_iou(exact_boxes[anchors], boxes[anchors])).sum())
        for exact_keypoints, keypoints in zip(exact_poses, poses, strict=True):
            has_keypoints = True
            moved = _keypoint_shift(exact_keypoints[anchors], keypoints[anchors], exact_boxes[anchors])
            shift += float((weight * moved).sum())
        best, best_stored, images = max(best, float(a.max())), max(best_stored, float(b.max())), images + 1
    if not total:
        return DetectorAgreement(images, None, None, best, best_stored)
    mean_shift = shift / total if has_keypoints else None
    return DetectorAgreement(images, difference / total, overlap / total, best, best_stored, mean_shift)


def _keypoint_shift(one: np.ndarray, other: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return the mean distance of keypoints (n, J, 3), (n,), in the square root of their boxes' areas."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1)  # a box may be empty
    distances = np.linalg.norm(one[..., :2] - other[..., :2], axis=2)
    return np.asarray(distances.mean(1) / np.sqrt(sides.prod(1)))


def match_rows(exact: Rows, stored: Rows) -> Rows:
    """Return the stored rows of an end-to-end detector in the order of the exact ones, which rounding changes.

    Args:
        exact: boxes (A, 4), scores (A,) and class ids (A,) as computed without rounding.
        stored: the same as stored.
    """
    same = exact[2][:, None] == stored[2][None]
    overlap = np.where(same, box_iou(exact[0], stored[0]), -1.0)
    order = np.full(len(exact[1]), -1)
    free = np.ones(len(exact[1]), bool)
    for row in np.argsort(-exact[1], kind="stable"):
        order[row] = np.where(free, overlap[row], -2.0).argmax()
        free[order[row]] = False
    return stored[0][order], stored[1][order], stored[2][order]


def relative_error(exact: Sequence[np.ndarray], stored: Sequence[np.ndarray]) -> float:
    """Return the root mean square of the difference, relative to that of the outputs about their mean over images."""
    mean = np.mean(exact, axis=0)
    change = sum(float(np.square(each - mean, dtype=np.float64).sum()) for each in exact)
    error = sum(
        float(np.square(a.astype(np.float64) - b, dtype=np.float64).sum()) for a, b in zip(exact, stored, strict=True)
    )
    return float(np.sqrt(error / change)) if change else float(error > 0)


def is_dead(outputs: Sequence[np.ndarray]) -> bool:
    """Return whether outputs for different inputs are all the same."""
    size = max(float(np.abs(each).max(initial=0)) for each in outputs)
    return all(float(np.abs(a - b).max(initial=0)) <= DEAD * size for a, b in combinations(outputs, 2))


def _pair_iou(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the IoU of pairs of boxes (n, 4); that of equal ones without area is 1."""
    return np.where((one == other).all(1), 1.0, np.diagonal(box_iou(one, other)))
