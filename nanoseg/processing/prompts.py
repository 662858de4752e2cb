"""Prompts for the mask decoder: boxes, points and masks in any mixture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nanoseg.errors import UsageError

FOREGROUND, BACKGROUND, TOP_LEFT, BOTTOM_RIGHT, PADDING, ABSENT = 1, 0, 2, 3, -1, -2
LABELS = (FOREGROUND, BACKGROUND, TOP_LEFT, BOTTOM_RIGHT, PADDING, ABSENT)
_CORNERS = np.array([TOP_LEFT, BOTTOM_RIGHT], np.float32)


@dataclass(frozen=True, eq=False, repr=False)
class Prompts:
    """N prompts of P points each, in pixels of a frame, with a mask each where wanted.

    Labels are SAM's: 1 foreground, 0 background, 2 and 3 a box's corners, -1 the padding
    point (it changes the result, as in SAM), -2 absent (no influence at all).
    """

    coords: np.ndarray  # (N, P, 2) float32: x, y
    labels: np.ndarray  # (N, P) float32
    mask_input: np.ndarray | None = None  # (N, 1, 4g, 4g) float32 logits over the encoder's square; None: no masks
    has_mask: np.ndarray | None = None  # (N,) float32: 1 where a prompt has a mask, 0 where its row is ignored

    def __post_init__(self) -> None:
        """Raise UsageError for masks without `has_mask`, or the other way round."""
        if (self.mask_input is None) != (self.has_mask is None):
            missing = "mask_input" if self.mask_input is None else "has_mask"
            raise UsageError(f"prompts: wanted mask_input and has_mask together, {missing} is missing; see Prompts.of")

    def __len__(self) -> int:
        return len(self.coords)

    def __repr__(self) -> str:
        masks = "" if self.has_mask is None else f", {np.count_nonzero(self.has_mask)} with a mask"
        return f"Prompts({len(self)} of up to {self.coords.shape[1]} points{masks})"

    def __getitem__(self, part: slice) -> Prompts:
        """Return a part of the prompts, as views of the same arrays."""
        if self.mask_input is None or self.has_mask is None:
            return Prompts(self.coords[part], self.labels[part])
        return Prompts(self.coords[part], self.labels[part], self.mask_input[part], self.has_mask[part])

    def single(self, index: int) -> Prompts:
        """Return prompt `index` by itself, without its absent points: P is 0 where it is nothing but a mask."""
        one, present = self[index : index + 1], self.labels[index] != ABSENT
        return Prompts(one.coords[:, present], one.labels[:, present], one.mask_input, one.has_mask)

    @classmethod
    def from_boxes(cls, boxes: Any) -> Prompts:
        """Return box prompts, each as SAM's two corner points.

        Args:
            boxes: (N, 4), or (4,) for one: xyxy in pixels of the frame.

        Raises:
            UsageError: For another shape, and for a box that is not finite or whose right is less than its left.
        """
        array = _floats("boxes", boxes)
        if array.size == 0:
            array = array.reshape(0, 4)
        if array.ndim == 1:
            array = array[None]
        if array.ndim != 2 or array.shape[1] != 4:
            raise UsageError(f"boxes: wanted (N, 4) left, top, right, bottom, got shape {array.shape}")
        valid = np.isfinite(array).all(1) & (array[:, 0] <= array[:, 2]) & (array[:, 1] <= array[:, 3])
        if not valid.all():
            i = int(valid.argmin())
            raise UsageError(f"boxes[{i}]: wanted finite left <= right and top <= bottom, got {array[i].tolist()}")
        return cls.from_detections(array)

    @classmethod
    def from_detections(cls, xyxy: np.ndarray) -> Prompts:
        """Return the prompts of boxes (N, 4) float32 without a check: a detector's are finite and have an area."""
        labels = np.empty((len(xyxy), 2), np.float32)
        labels[...] = _CORNERS
        return cls(xyxy.reshape(-1, 2, 2), labels)

    @classmethod
    def from_points(cls, points: Sequence[Any] | np.ndarray, labels: Sequence[Any] | np.ndarray) -> Prompts:
        """Return point prompts.

        Args:
            points: N times (P_i, 2): x, y in pixels of the frame.
            labels: N times (P_i,), of LABELS.

        Raises:
            UsageError: As `of` does.
        """
        return cls.of(points=points, labels=labels)

    @classmethod
    def of(
        cls, boxes: Any = None, points: Any = None, labels: Any = None, mask_input: Any = None, padding: bool = True
    ) -> Prompts:
        """Return N prompts of any mixture, each as segment-anything's predictor builds it.

        Points come before the corners of their box; points without a box get SAM's padding point (label -1), a mask
        alone has no point at all; short prompts are filled up with absent points. In each argument None stands where a
        prompt has none of that kind.

        Args:
            boxes: (N, 4), or (4,) for one: xyxy in pixels of the frame.
            points: N times (P_i, 2): x, y in pixels of the frame.
            labels: N times (P_i,), of LABELS.
            mask_input: (N, 4g, 4g) or (N, 1, 4g, 4g) logits of an earlier result.
            padding: Whether points without a box get SAM's padding point; False for points as NanoSAM's predictor
                takes them.

        Raises:
            UsageError: For wrong shapes, unknown labels, non-finite values and arguments of different lengths.
        """
        if boxes is not None and all(each is None for each in (points, labels, mask_input)) and not _has_gaps(boxes):
            return cls.from_boxes(boxes)
        if (points is None) != (labels is None):
            raise UsageError("points: wanted together with labels, one of them is missing")
        corners, spots = _box_corners(boxes), _point_lists(points, labels)
        masks, has_mask = _mask_inputs(mask_input)
        arguments = {"boxes": corners, "points": spots, "mask_input": masks}
        counts = {name: len(values) for name, values in arguments.items() if values is not None}
        if not counts:
            raise UsageError("prompts: wanted boxes, points with labels, or mask_input, got none of them")
        count = next(iter(counts.values()))
        if set(counts.values()) != {count}:
            got = ", ".join(f"{name} {number}" for name, number in counts.items())
            raise UsageError(f"prompts: wanted one entry a prompt in each, None where it has none, got {got}")
        pairs = zip(corners or [None] * count, spots or [None] * count, strict=True)
        prompts = [_join(box, spot, padding) for box, spot in pairs]
        for i, (_, label) in enumerate(prompts):
            if (label == ABSENT).all() and (has_mask is None or not has_mask[i]):
                raise UsageError(f"prompts[{i}]: wanted a box, a point or a mask, got none of them")
        longest = max((len(label) for _, label in prompts), default=1) or 1
        coords = np.zeros((count, longest, 2), np.float32)
        all_labels = np.full((count, longest), ABSENT, np.float32)
        for i, (xy, label) in enumerate(prompts):
            coords[i, : len(xy)], all_labels[i, : len(label)] = xy, label
        if has_mask is None or not has_mask.any():
            return cls(coords, all_labels)
        return cls(coords, all_labels, masks, has_mask)


_Points = tuple[np.ndarray, np.ndarray]  # coordinates (P, 2) and labels (P,) of one prompt
_NO_POINTS: _Points = (np.zeros((0, 2), np.float32), np.zeros(0, np.float32))


def _join(corners: np.ndarray | None, points: _Points | None, padding: bool) -> _Points:
    """Return one prompt in segment-anything's order, whose `PromptEncoder._embed_points` pads where there is no box."""
    xy, label = points or _NO_POINTS
    if corners is not None:
        return np.concatenate([xy, corners]), np.concatenate([label, _CORNERS])
    if padding and (label != ABSENT).any() and not np.isin(label, (TOP_LEFT, BOTTOM_RIGHT, PADDING)).any():
        return np.concatenate([xy, np.zeros((1, 2), np.float32)]), np.append(label, np.float32(PADDING))
    return xy, label


def _box_corners(boxes: Any) -> list[np.ndarray | None] | None:
    if boxes is None:
        return None
    if not _has_gaps(boxes):
        return list(Prompts.from_boxes(boxes).coords)
    filled = Prompts.from_boxes([(0, 0, 0, 0) if box is None else box for box in boxes]).coords
    return [None if box is None else corners for box, corners in zip(boxes, filled, strict=True)]


def _point_lists(points: Any, labels: Any) -> list[_Points | None] | None:
    if points is None:
        return None
    points, labels = _entries("points", points), _entries("labels", labels)
    if len(points) != len(labels):
        raise UsageError(f"points: {len(points)} prompts, but labels for {len(labels)}; each prompt needs its own")
    return [_point_list(i, *pair) for i, pair in enumerate(zip(points, labels, strict=True))]


def _point_list(i: int, points: Any, labels: Any) -> _Points | None:
    xy = _floats(f"points[{i}]", () if points is None else points)
    label = _floats(f"labels[{i}]", () if labels is None else labels)
    if not xy.size and not label.size:
        return None
    if xy.ndim != 2 or xy.shape[1] != 2 or label.shape != xy.shape[:1]:
        raise UsageError(f"points[{i}]: wanted (P, 2) points and (P,) labels, got {xy.shape} and {label.shape}")
    if not np.isfinite(xy).all():
        raise UsageError(f"points[{i}]: wanted finite coordinates in pixels of the frame, got {xy.tolist()}")
    if not np.isin(label, LABELS).all():
        raise UsageError(f"labels[{i}]: wanted 1, 0, 2, 3, -1 or -2, got {label.tolist()}")
    return xy, label


def _mask_inputs(mask_input: Any) -> tuple[np.ndarray, np.ndarray] | tuple[None, None]:
    """Return masks (N, 1, side, side), zeros where a prompt has none, and (N,) 1 where it has one."""
    if mask_input is None:
        return None, None
    entries = enumerate(_entries("mask_input", mask_input))
    rows = [None if one is None else _logits(f"mask_input[{i}]", one) for i, one in entries]
    side = next((len(one) for one in rows if one is not None), 1)
    masks = np.zeros((len(rows), 1, side, side), np.float32)
    for i, one in enumerate(rows):
        if one is not None and len(one) != side:
            raise UsageError(f"mask_input[{i}]: wanted ({side}, {side}) as the masks before it, got {len(one)} rows")
        if one is not None:
            masks[i, 0] = one
    return masks, np.array([one is not None for one in rows], np.float32)


def _logits(name: str, values: Any) -> np.ndarray:
    array = _floats(name, values)
    if array.ndim == 3 and len(array) == 1:
        array = array[0]
    if array.ndim != 2 or array.shape[0] != array.shape[1]:
        raise UsageError(f"{name}: wanted (4g, 4g) or (1, 4g, 4g) logits, got shape {array.shape}")
    if np.asarray(values).dtype == np.bool_:
        raise UsageError(f"{name}: wanted logits, such as Masks.logits of an earlier result, got bool")
    if not np.isfinite(array).all():
        raise UsageError(f"{name}: wanted finite logits, got some that are not")
    return array


def _entries(name: str, values: Any) -> list[Any]:
    try:
        return list(values)
    except TypeError:
        raise UsageError(f"{name}: wanted a list with one entry a prompt, got {type(values).__name__}") from None


def _has_gaps(boxes: Any) -> bool:
    return isinstance(boxes, (list, tuple)) and any(box is None for box in boxes)


def _floats(name: str, values: Any) -> np.ndarray:
    try:
        array = np.asarray(values)
        if array.dtype.kind == "c":
            raise TypeError("these are complex")
        with np.errstate(over="ignore"):  # too large numbers become infinite, which has a clearer message
            return array.astype(np.float32, copy=False)
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"{name}: wanted numbers in rows of one length: {error}") from error


def choose_prompts(
    prompts: Any, boxes: Any, points: Any, labels: Any, mask_input: Any, padding: bool = True
) -> Prompts:
    """Return `prompts`, or `Prompts.of` the other arguments where it is None; raises UsageError for both."""
    if prompts is None:
        return Prompts.of(boxes, points, labels, mask_input, padding)
    if not isinstance(prompts, Prompts):
        raise UsageError(
            f"segment: prompts wants Prompts, got {type(prompts).__name__}; give boxes=, or Prompts.of(boxes)"
        )
    if any(each is not None for each in (boxes, points, labels, mask_input)):
        raise UsageError("segment: wanted either prompts, or boxes, points with labels and mask_input")
    return prompts
