"""Preprocessing with OpenCV: what prepare.onnx does on a GPU, faster on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from nanoseg.errors import needs
from nanoseg.processing.geometry import CENTRED, SAM_MEAN, SAM_STD, Geometry, Padding, Resize, check_resize

with needs("OpenCV", "opencv"):
    import cv2

# (H, W, 3) uint8 and a buffer of another size -> the picture in that size, in that buffer or in a new array.
Resizer = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Preprocessed(NamedTuple):
    """The networks' inputs of one frame; both arrays are views of buffers that the next frame overwrites."""

    images: np.ndarray  # (1, 3, S, S) float32, RGB in 0..1, letterboxed: the detector's
    image: np.ndarray  # (1, 3, E, E) float32, RGB, normalised: the encoder's
    geometry: Geometry
    confidence: float  # threshold of the detector
    iou: float  # threshold of its NMS


class Preprocessor:
    """Preprocesses frame after frame into the same two buffers; not to be shared between threads."""

    def __init__(
        self,
        detector_px: int,
        rescale_px: int,
        encoder_px: int,
        resize: Resize = "cv2",
        padding: Padding = CENTRED,
    ) -> None:
        """Allocate the buffers.

        Args:
            detector_px: Side of the detector's square input.
            rescale_px: Longer side of the frame inside it.
            encoder_px: Side of the encoder's square input.
            resize: How the encoder's input is resized; the detector's is always resized by OpenCV, as in
                super-gradients.
            padding: What is around the frame in the detector's input.

        Raises:
            UsageError: For an unknown `resize`.
            DependencyError: Where it needs Pillow, which is not installed.
        """
        self._sizes, self._resize, self._padding = (detector_px, rescale_px, encoder_px), resize, padding
        levels = np.arange(256, dtype=np.float32)
        unit = levels / np.float32(255)
        normalised = [
            (levels - np.float32(mean)) / np.float32(std) for mean, std in zip(SAM_MEAN, SAM_STD, strict=True)
        ]
        self._images = _Input(detector_px, [unit] * 3, padding.value / 255, _opencv)
        self._image = _Input(encoder_px, normalised, 0.0, resizer(resize))
        self._geometry: Geometry | None = None

    def geometry(self, frame_hw: tuple[int, int]) -> Geometry:
        """Return the geometry of this frame size; the buffers are laid out anew only when the size changes."""
        if self._geometry is None or self._geometry.frame_hw != frame_hw:
            geometry = Geometry.of(frame_hw, *self._sizes, self._resize, self._padding)
            self._images.lay_out(geometry.detector_hw, geometry.detector_offset)
            self._image.lay_out(geometry.encoder_hw, (0, 0))
            self._geometry = geometry
        return self._geometry

    def __call__(self, image: np.ndarray, confidence: float = 0.0, iou: float = 1.0) -> Preprocessed:
        """Return both inputs of a (H, W, 3) uint8 BGR image, valid until the next call, and the thresholds given."""
        geometry = self.geometry(image.shape[:2])
        return Preprocessed(self._images.write(image), self._image.write(image), geometry, confidence, iou)

    def encoder_input(self, image: np.ndarray) -> Preprocessed:
        """Return the same with `image` alone computed, for prompts without a detector."""
        geometry = self.geometry(image.shape[:2])
        return Preprocessed(self._images.array, self._image.write(image), geometry, 0.0, 1.0)


class _Input:
    """One (1, 3, side, side) float32 buffer, and the part of it that the picture fills."""

    def __init__(self, side_px: int, tables: list[np.ndarray], fill: float, resize: Resizer) -> None:
        self.array = np.empty((1, 3, side_px, side_px), np.float32)
        # 256 levels only: a table is exact, and in one pass converts, scales and shifts.
        self._tables = [np.ascontiguousarray(table.reshape(1, 256)) for table in tables]
        self._fill, self._resize = np.float32(fill), resize
        self._picture: list[np.ndarray] = []

    def lay_out(self, size_hw: tuple[int, int], offset: tuple[int, int]) -> None:
        (height, width), (left, top) = size_hw, offset
        self.array.fill(self._fill)
        self._picture = [plane[top : top + height, left : left + width] for plane in self.array[0]]
        self._resized = np.empty((height, width, 3), np.uint8)
        self._plane = np.empty((height, width), np.uint8)

    def write(self, image: np.ndarray) -> np.ndarray:
        resized = image if image.shape == self._resized.shape else self._resize(image, self._resized)
        for channel, (table, picture) in enumerate(zip(self._tables, self._picture, strict=True)):
            cv2.extractChannel(resized, 2 - channel, self._plane)  # BGR -> RGB
            cv2.LUT(self._plane, table, picture)
        return self.array


def resizer(resize: Resize) -> Resizer:
    """Return the function that resizes a frame for the encoder.

    Raises:
        UsageError: For an unknown `resize`.
        DependencyError: Where it needs Pillow, which is not installed.
    """
    check_resize(resize)
    if resize == "cv2":
        return _opencv
    with needs("Pillow", "eval"):
        from PIL import Image
    # Pillow's filters are antialiased, and each channel is resized by itself: the order of the colours is no matter.
    kernel = Image.Resampling.BILINEAR if resize == "pil" else Image.Resampling.BICUBIC

    def pillow(image: np.ndarray, out: np.ndarray) -> np.ndarray:
        height, width, _ = out.shape
        return np.asarray(Image.fromarray(image).resize((width, height), kernel))

    return pillow


def _opencv(image: np.ndarray, out: np.ndarray) -> np.ndarray:
    height, width, _ = out.shape
    return cv2.resize(image, (width, height), dst=out, interpolation=cv2.INTER_LINEAR)
