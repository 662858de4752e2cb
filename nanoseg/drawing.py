"""What was found, drawn on the frame: masks, their outlines, boxes and names."""

from __future__ import annotations

from typing import Any

import numpy as np

from nanoseg.errors import DependencyError
from nanoseg.types import Detections, Frame

try:
    import supervision
except ImportError as missing:
    raise DependencyError('supervision is not installed: pip install "nanoseg[draw]"') from missing

# Hues far apart and light enough for dark letters, in an order that keeps neighbours distinct.
PALETTE = (
    *("#35C2FF", "#FFB02E", "#7BE495", "#FF6FB5", "#B69CFF", "#FFE45C"),
    *("#FF7A5C", "#4FE3D1", "#C6E94F", "#8FB8FF", "#F2A6F0", "#D9C2A3"),
)
_INK = "#101418"
# Masks are drawn as whole frames; so many bytes of them at once, however large the frame and many the objects.
_MASK_BYTES = 64 << 20


class Painter:
    """Draws Detections with supervision's annotators; line and letters grow with the frame. A class keeps its colour."""

    def __init__(self) -> None:
        self._annotators: dict[tuple[int, int], tuple[list[Any], list[Any]]] = {}

    def __call__(self, frame: Frame, found: Detections) -> np.ndarray:
        """A new (H, W, 3) uint8 BGR picture: the frame with `found` on it."""
        scene = frame.image.copy()
        if not len(found):
            return scene
        height, width = frame.size_hw
        if (height, width) not in self._annotators:
            self._annotators = {(height, width): _annotators(min(height, width))}
        of_masks, of_boxes = self._annotators[height, width]
        step = max(1, _MASK_BYTES // (height * width))
        for start in range(0, len(found), step):
            some = _with_masks(found, slice(start, start + step), (height, width))
            for annotator in of_masks:
                scene = annotator.annotate(scene, some)
        boxes = supervision.Detections(xyxy=found.xyxy, confidence=found.confidence, class_id=found.class_id)
        for annotator in of_boxes[:-1]:
            scene = annotator.annotate(scene, boxes)
        labels = [f"{name} {sure:.2f}" for name, sure in zip(found.class_name, found.confidence, strict=True)]
        painted: np.ndarray = of_boxes[-1].annotate(scene, boxes, labels=labels)
        return painted


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


def _with_masks(found: Detections, some: slice, frame_hw: tuple[int, int]) -> Any:
    indices = range(*some.indices(len(found)))
    masks = np.zeros((len(indices), *frame_hw), np.bool_)
    for mask, index in zip(masks, indices, strict=True):
        left, top, crop = found.masks.crop(index)
        mask[top : top + crop.shape[0], left : left + crop.shape[1]] = crop
    return supervision.Detections(xyxy=found.xyxy[some], mask=masks, class_id=found.class_id[some])
