"""What was found, drawn on the frame: masks, their outlines, boxes and names."""

from __future__ import annotations

from typing import Any

import numpy as np

from nanoseg.errors import needs
from nanoseg.processing.prompts import BACKGROUND, BOTTOM_RIGHT, FOREGROUND, TOP_LEFT, Prompts
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
_INK = "#101418"
# Blue, green, red: what was pointed at and what was not.
_YES, _NO, _RING = (80, 200, 60), (60, 60, 230), (255, 255, 255)


class Painter:
    """Draws with supervision's annotators: lines and letters grow with the frame, a class keeps its colour."""

    def __init__(self) -> None:
        self._annotators: dict[tuple[int, int], tuple[list[Any], list[Any]]] = {}

    def __call__(self, frame: Frame, found: Detections) -> np.ndarray:
        """A new (H, W, 3) uint8 BGR picture: the frame with `found` on it."""
        scene: np.ndarray = frame.image.copy()
        if not len(found):
            return scene
        height, width = frame.size_hw
        if (height, width) not in self._annotators:
            self._annotators = {(height, width): _annotators(min(height, width))}
        of_masks, of_boxes = self._annotators[height, width]
        for index in range(len(found)):
            # On the object's own rectangle: whole frames of masks cost ten times as much and, at 4K, gigabytes.
            left, top, mask = found.masks.crop(index)
            if not mask.size:
                continue
            patch = scene[top : top + mask.shape[0], left : left + mask.shape[1]]
            one = _one_mask(mask, found.class_id[index : index + 1])
            painted = patch.copy()
            for annotator in of_masks:
                painted = annotator.annotate(painted, one)
            patch[:] = painted
        boxes = supervision.Detections(xyxy=found.xyxy, confidence=found.confidence, class_id=found.class_id)
        for annotator in of_boxes[:-1]:
            scene = annotator.annotate(scene, boxes)
        labels = [f"{name} {sure:.2f}" for name, sure in zip(found.class_name, found.confidence, strict=True)]
        labelled: np.ndarray = of_boxes[-1].annotate(scene, boxes, labels=labels)
        return labelled


def mark(scene: np.ndarray, prompts: Prompts) -> np.ndarray:
    """Draw prompts on a (H, W, 3) uint8 BGR picture, and give it back: boxes, green and red points in white rings."""
    radius = max(2, round(min(scene.shape[:2]) / 120))
    thick = max(1, radius // 3)
    for coords, labels in zip(prompts.coords, prompts.labels, strict=True):
        corners = coords[np.isin(labels, (TOP_LEFT, BOTTOM_RIGHT))].round().astype(int).tolist()
        for first, second in zip(corners[0::2], corners[1::2], strict=False):
            cv2.rectangle(scene, first, second, _RING, thick)
        for label, color in ((FOREGROUND, _YES), (BACKGROUND, _NO)):
            for spot in coords[labels == label].round().astype(int).tolist():
                cv2.circle(scene, spot, radius + thick, _RING, cv2.FILLED, cv2.LINE_AA)
                cv2.circle(scene, spot, radius, color, cv2.FILLED, cv2.LINE_AA)
    return scene


def _annotators(shortest_px: int) -> tuple[list[Any], list[Any]]:
    colors = supervision.ColorPalette.from_hex(list(PALETTE))
    thick = max(1, round(shortest_px / 320))
    return [
        supervision.MaskAnnotator(color=colors, opacity=0.4),
        supervision.PolygonAnnotator(color=colors, thickness=thick),
    ], [
        supervision.BoxAnnotator(color=colors, thickness=max(1, thick // 2)),
        supervision.LabelAnnotator(
            color=colors,
            text_color=supervision.Color.from_hex(_INK),
            text_scale=max(0.4, shortest_px / 480 * 0.45),
            text_thickness=max(1, round(shortest_px / 480)),
            text_padding=max(2, round(shortest_px / 120)),
            smart_position=True,  # keeps names inside the frame and off each other
        ),
    ]


def _one_mask(mask: np.ndarray, class_id: np.ndarray) -> Any:
    height, width = mask.shape
    xyxy = np.array([[0, 0, width, height]], np.float32)
    return supervision.Detections(xyxy=xyxy, mask=mask[None], class_id=class_id)
