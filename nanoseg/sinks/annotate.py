"""Drawing detections and prompts on an image."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from nanoseg.errors import needs
from nanoseg.processing.masks import best_per_prompt
from nanoseg.processing.prompts import BACKGROUND, BOTTOM_RIGHT, FOREGROUND, TOP_LEFT, Prompts
from nanoseg.sinks.draw_keypoints import draw_keypoints
from nanoseg.sinks.place_labels import place_labels
from nanoseg.types import Detections, Frame

with needs("OpenCV", "opencv"):
    import cv2
with needs("supervision", "draw"):
    import supervision

# Hues far apart and light enough for dark letters, in an order that keeps neighbours distinct.
PALETTE = (
    *("#35C2FF", "#FFB02E", "#7BE495", "#FF6FB5", "#B69CFF", "#FFE45C"),
    *("#FF7A5C", "#4FE3D1", "#C6E94F", "#8FB8FF", "#F2A6F0", "#D9C2A3"),
)
_FONT = cv2.FONT_HERSHEY_SIMPLEX  # supervision's
_CROWDED = 12  # objects from which on letters are smaller
_OTHER_NAMES = 0.75  # size of the letters of an object's other names
_TEXT_COLOR = "#101418"
_FOREGROUND_BGR, _BACKGROUND_BGR, _OUTLINE_BGR = (80, 200, 60), (60, 60, 230), (255, 255, 255)


class Annotator:
    """Draws masks, outlines, boxes, keypoints and class names; each class keeps its colour, a track its own.

    What detections share, a mask and mostly the box, is drawn once, for the most confident one; the names of the others
    stand beside its name in smaller letters. Line widths and letters grow with the frame.
    """

    def __init__(self, *, labels: bool = True, boxes: bool = True, masks: bool = True) -> None:
        """Draw these."""
        self._labels, self._boxes, self._masks = labels, boxes, masks
        self._annotators: dict[tuple[int, int, bool], _Annotators] = {}

    def __call__(self, frame: Frame, detections: Detections) -> np.ndarray:
        """Return a new (H, W, 3) uint8 BGR image: the frame with the detections drawn on it."""
        scene: np.ndarray = frame.image.copy()
        if not len(detections):
            return scene
        height, width = frame.size_hw
        look = (height, width, len(detections) > _CROWDED)
        if look not in self._annotators:
            self._annotators[look] = _annotators(min(height, width), 0.75 if look[2] else 1.0)
        annotators = self._annotators[look]
        best = best_per_prompt(detections.confidence, detections.masks.same)
        colours = _colours(detections)
        order = best[np.argsort(detections.confidence[best], kind="stable")]  # the more confident on top
        for index in order if self._masks else ():
            # Only within the object's rectangle: masks of whole frames take ten times as long and, at 4K, gigabytes.
            left, top, mask = detections.masks.crop(index)
            if not mask.size:
                continue
            patch = scene[top : top + mask.shape[0], left : left + mask.shape[1]]
            single = _one_mask(mask, colours[index : index + 1])
            annotated = patch.copy()
            for annotator in annotators.masks:
                annotated = annotator.annotate(annotated, single)
            patch[:] = annotated
        if self._boxes:
            scene = annotators.box.annotate(scene, _rows(detections, order))
        if detections.keypoints is not None:
            draw_keypoints(scene, detections.select(order), [_bgr(each) for each in colours[order]])
        if self._labels:
            others = np.setdiff1d(np.arange(len(detections)), best)
            scene = self._draw_names(scene, detections, order[::-1], others, annotators)
        return scene

    @staticmethod
    def _draw_names(
        scene: np.ndarray, detections: Detections, best: np.ndarray, others: np.ndarray, annotators: _Annotators
    ) -> np.ndarray:
        """Draw the names of the objects, and those of other detections of the same ones; the first choose first."""
        looks = [annotators.name] * len(best) + [annotators.other_name] * len(others)
        order = np.concatenate([best, others])
        texts = [_text(detections, index) for index in order]
        sizes = [
            np.array(cv2.getTextSize(text, _FONT, look.text_scale, look.text_thickness)[0]) + 2 * look.text_padding
            for text, look in zip(texts, looks, strict=True)
        ]
        rows = _rows(detections, order)
        placed = place_labels(rows.xyxy, np.array(sizes), scene.shape[:2])
        # The annotators draw a name above the upper left corner of a box.
        rows.xyxy = np.stack([placed[:, 0], placed[:, 3], placed[:, 2], placed[:, 3] + 1], 1).astype(np.float32)
        for index in range(len(order))[::-1]:
            scene = looks[index].annotate(scene, rows[index : index + 1], labels=texts[index : index + 1])
        return scene


def draw_prompts(image: np.ndarray, prompts: Prompts) -> np.ndarray:
    """Draw boxes, and foreground and background points in green and red, on an image.

    Args:
        image: (H, W, 3) uint8 BGR, drawn on in place.
        prompts: in pixels of the image.

    Returns:
        The same image.
    """
    radius = max(2, round(min(image.shape[:2]) / 120))
    thickness = max(1, radius // 3)
    for coords, labels in zip(prompts.coords, prompts.labels, strict=True):
        corners = coords[np.isin(labels, (TOP_LEFT, BOTTOM_RIGHT))].round().astype(int).tolist()
        for first, second in zip(corners[0::2], corners[1::2], strict=False):
            cv2.rectangle(image, first, second, _OUTLINE_BGR, thickness)
        for label, color in ((FOREGROUND, _FOREGROUND_BGR), (BACKGROUND, _BACKGROUND_BGR)):
            for center in coords[labels == label].round().astype(int).tolist():
                cv2.circle(image, center, radius + thickness, _OUTLINE_BGR, cv2.FILLED, cv2.LINE_AA)
                cv2.circle(image, center, radius, color, cv2.FILLED, cv2.LINE_AA)
    return image


class _Annotators(NamedTuple):
    """supervision's annotators for frames of one size."""

    masks: list[Any]
    box: Any
    name: Any
    other_name: Any


def _annotators(shorter_side_px: int, letters: float) -> _Annotators:
    """Return the annotators for frames of that size."""
    colors = supervision.ColorPalette.from_hex(list(PALETTE))
    thickness = max(1, round(shorter_side_px / 320))
    return _Annotators(
        [
            supervision.MaskAnnotator(color=colors, opacity=0.4),
            supervision.PolygonAnnotator(color=colors, thickness=thickness),
        ],
        supervision.BoxAnnotator(color=colors, thickness=max(1, thickness // 2)),
        _name_annotator(colors, shorter_side_px, letters),
        _name_annotator(colors, shorter_side_px, _OTHER_NAMES * letters),
    )


def _name_annotator(colors: Any, shorter_side_px: int, letters: float) -> Any:
    return supervision.LabelAnnotator(
        color=colors,
        text_color=supervision.Color.from_hex(_TEXT_COLOR),
        text_scale=max(0.4 * letters, shorter_side_px / 480 * 0.45 * letters),
        text_thickness=max(1, round(shorter_side_px / 480)),
        text_padding=max(2, round(shorter_side_px / 120 * letters)),
    )


def _rows(detections: Detections, order: np.ndarray) -> Any:
    return supervision.Detections(
        xyxy=detections.xyxy[order], confidence=detections.confidence[order], class_id=_colours(detections)[order]
    )


def _colours(detections: Detections) -> np.ndarray:
    """Return the palette's index of each object, (N,) int64: by track where it has one, else by class."""
    if detections.track_id is None:
        return detections.class_id
    return np.where(detections.track_id < 0, detections.class_id, detections.track_id)


def _bgr(colour: int) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(PALETTE[colour % len(PALETTE)].removeprefix("#"))
    return blue, green, red


def _text(detections: Detections, index: int) -> str:
    track_id = -1 if detections.track_id is None else detections.track_id[index]
    track = f" #{track_id}" if track_id >= 0 else ""
    return f"{detections.class_name[index]}{track} {detections.confidence[index]:.2f}"


def _one_mask(mask: np.ndarray, colour: np.ndarray) -> Any:
    height, width = mask.shape
    xyxy = np.array([[0, 0, width, height]], np.float32)
    return supervision.Detections(xyxy=xyxy, mask=mask[None], class_id=colour)
