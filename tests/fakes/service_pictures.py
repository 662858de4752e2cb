"""Pictures of the fake service: simulated lines, rendered once and played in a loop."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from nanoseg.processing import rle
from nanoseg.processing.polygons import mask_polygons
from nanoseg.sources.simulator.line import LABELS, GroundTruth, SimulatedLine

FPS = 10
_COLOURS = np.random.default_rng(7).integers(70, 255, (len(LABELS), 3))


@dataclass
class Picture:
    """One frame with what is in it."""

    image: np.ndarray  # (H, W, 3) uint8 BGR
    truth: GroundTruth

    @cached_property
    def plain(self) -> bytes:
        """JPEG of the frame."""
        return _jpeg(self.image)

    @cached_property
    def drawn(self) -> bytes:
        """JPEG with the masks drawn in."""
        image = self.image.copy()
        for class_id, mask in zip(self.truth.class_id, self.truth.masks, strict=True):
            colour = _COLOURS[class_id]
            image[mask] = (image[mask] * 0.6 + colour * 0.4).astype(np.uint8)
            contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(image, contours, -1, colour.tolist(), 2, cv2.LINE_AA)
        return _jpeg(image)

    def objects(self) -> list[dict]:
        """The objects of a record, without masks."""
        return [
            {
                "class_id": int(class_id),
                "class_name": LABELS[class_id],
                "confidence": round(0.7 + (int(track) * 37 % 29) / 100, 3),
                "xyxy": [float(edge) for edge in box],
                "mask_confidence": 0.9,
            }
            for box, class_id, track in zip(self.truth.xyxy, self.truth.class_id, self.truth.track_id, strict=True)
        ]

    def segment(self, box: list[float] | None, points: list[list[float]], labels: list[int]) -> dict:
        """Answer one prompt: the part under it, less a disc around each background point."""
        mask = self._part_in(box) if box else self._part_at(points[labels.index(1)])
        for point, is_in in zip(points, labels, strict=True):
            if not is_in:
                mask &= ~_disc(mask.shape, point, 18)
        y, x = np.nonzero(mask)
        return {
            "mask": rle.encode(mask),
            "polygons": [ring.tolist() for ring in mask_polygons(mask)],
            "mask_confidence": 0.931,
            "xyxy": [int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1] if len(x) else [0, 0, 0, 0],
            "area_px": len(x),
        }

    def _part_at(self, point: list[float]) -> np.ndarray:
        x, y = (int(value) for value in point)
        inside = [mask for mask in self.truth.masks if mask[y, x]]
        return inside[-1].copy() if inside else _disc(self.image.shape[:2], point, 40)

    def _part_in(self, box: list[float]) -> np.ndarray:
        mask = np.zeros(self.image.shape[:2], bool)
        left, top, right, bottom = (round(edge) for edge in box)
        mask[top:bottom, left:right] = True
        whole = [part for part in self.truth.masks if (part & mask).sum() > 0.6 * part.sum()]
        return max(whole, key=lambda part: int(part.sum())).copy() if whole else mask


def _disc(shape: tuple[int, ...], centre: list[float], radius: int) -> np.ndarray:
    disc = np.zeros(shape, np.uint8)
    cv2.circle(disc, (round(centre[0]), round(centre[1])), radius, 1, -1)
    return disc.astype(bool)


def _jpeg(image: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()


def pictures(seed: int, size_wh: tuple[int, int], count: int) -> list[Picture]:
    """Return the first `count` frames of a simulated line."""
    line = SimulatedLine(seed, size_wh)
    return [Picture(frame.image, truth) for frame, truth in map(line.sample, range(0, 2 * count, 2))]
