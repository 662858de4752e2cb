"""Drawing detections and prompts on an image."""

from __future__ import annotations

from typing import Any

import numpy as np

from nanoseg.errors import needs
from nanoseg.processing.prompts import BACKGROUND, BOTTOM_RIGHT, FOREGROUND, TOP_LEFT, Prompts
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
_TEXT_COLOR = "#101418"
_FOREGROUND_BGR, _BACKGROUND_BGR, _OUTLINE_BGR = (80, 200, 60), (60, 60, 230), (255, 255, 255)


class Annotator:
    """Draws masks, outlines, boxes and class names with supervision; each class keeps its colour.

    Line widths and letters grow with the frame.
    """

    def __init__(self, *, labels: bool = True, boxes: bool = True, masks: bool = True) -> None:
        """Draw these."""
        self._labels, self._boxes, self._masks = labels, boxes, masks
        self._annotators: dict[tuple[int, int, bool], tuple[list[Any], list[Any]]] = {}

    def __call__(self, frame: Frame, detections: Detections) -> np.ndarray:
        """Return a new (H, W, 3) uint8 BGR image: the frame with the detections drawn on it."""
        scene: np.ndarray = frame.image.copy()
        if not len(detections):
            return scene
        height, width = frame.size_hw
        look = (height, width, len(detections) > _CROWDED)
        if look not in self._annotators:
            self._annotators[look] = _annotators(min(height, width), 0.75 if look[2] else 1.0)
        mask_annotators, (box_annotator, label_annotator) = self._annotators[look]
        order = np.argsort(detections.confidence, kind="stable")  # the more confident on top
        for index in order if self._masks else ():
            # Only within the object's rectangle: masks of whole frames take ten times as long and, at 4K, gigabytes.
            left, top, mask = detections.masks.crop(index)
            if not mask.size:
                continue
            patch = scene[top : top + mask.shape[0], left : left + mask.shape[1]]
            single = _one_mask(mask, detections.class_id[index : index + 1])
            annotated = patch.copy()
            for annotator in mask_annotators:
                annotated = annotator.annotate(annotated, single)
            patch[:] = annotated
        drawn = supervision.Detections(
            xyxy=detections.xyxy[order], confidence=detections.confidence[order], class_id=detections.class_id[order]
        )
        if self._boxes:
            scene = box_annotator.annotate(scene, drawn)
        if self._labels:
            texts = [f"{detections.class_name[index]} {detections.confidence[index]:.2f}" for index in order]
            drawn.xyxy = self._anchors(texts, drawn.xyxy, label_annotator, (height, width))
            scene = label_annotator.annotate(scene, drawn, labels=texts)
        return scene

    @staticmethod
    def _anchors(texts: list[str], boxes: np.ndarray, annotator: Any, frame_hw: tuple[int, int]) -> np.ndarray:
        """Return boxes above whose upper left corners the annotator draws labels, the last ones placed first."""
        scale, thickness, padding = annotator.text_scale, annotator.text_thickness, annotator.text_padding
        sizes = np.array([cv2.getTextSize(text, _FONT, scale, thickness)[0] for text in texts]) + 2 * padding
        placed = place_labels(boxes[::-1], sizes[::-1], frame_hw)[::-1]
        return np.stack([placed[:, 0], placed[:, 3], placed[:, 2], placed[:, 3] + 1], 1).astype(np.float32)


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


def _annotators(shorter_side_px: int, letters: float) -> tuple[list[Any], list[Any]]:
    """Return supervision's annotators of masks and of boxes, for frames of that size."""
    colors = supervision.ColorPalette.from_hex(list(PALETTE))
    thickness = max(1, round(shorter_side_px / 320))
    return [
        supervision.MaskAnnotator(color=colors, opacity=0.4),
        supervision.PolygonAnnotator(color=colors, thickness=thickness),
    ], [
        supervision.BoxAnnotator(color=colors, thickness=max(1, thickness // 2)),
        supervision.LabelAnnotator(
            color=colors,
            text_color=supervision.Color.from_hex(_TEXT_COLOR),
            text_scale=max(0.4 * letters, shorter_side_px / 480 * 0.45 * letters),
            text_thickness=max(1, round(shorter_side_px / 480)),
            text_padding=max(2, round(shorter_side_px / 120 * letters)),
        ),
    ]


def _one_mask(mask: np.ndarray, class_id: np.ndarray) -> Any:
    height, width = mask.shape
    xyxy = np.array([[0, 0, width, height]], np.float32)
    return supervision.Detections(xyxy=xyxy, mask=mask[None], class_id=class_id)
