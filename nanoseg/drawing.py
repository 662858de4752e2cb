"""What was found, drawn on the frame: masks, their outlines, boxes and names."""

from __future__ import annotations

from typing import Any

import numpy as np

from nanoseg.errors import needs
from nanoseg.types import Detections, Frame

with needs("supervision", "draw"):
    import supervision

# Hues far apart and light enough for dark letters, in an order that keeps neighbours distinct.
PALETTE = (
    *("#35C2FF", "#FFB02E", "#7BE495", "#FF6FB5", "#B69CFF", "#FFE45C"),
    *("#FF7A5C", "#4FE3D1", "#C6E94F", "#8FB8FF", "#F2A6F0", "#D9C2A3"),
)
_INK = "#101418"


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
