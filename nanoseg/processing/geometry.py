"""Geometry of a frame: letterbox for the detector, longest side for the encoder, and the way back.

The detector sees super-gradients' letterbox: one scale, so that the longer side is `rescale_px`, centred on a
square of `detector_px` filled with 114, or as another `Padding` says. The encoder sees segment-anything's: the longer
side is `encoder_px`, the rest of the square, right and below, is zero after normalising.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np

from nanoseg.errors import UsageError

LETTERBOX_VALUE = 114  # super-gradients pads YOLO-NAS with this grey
CELL_PX = 16  # of the encoder's input, a side of one cell of its embedding: SAM's, and all that learn from it
# segment-anything's pixel_mean and pixel_std, RGB in 0..255.
SAM_MEAN = (123.675, 116.28, 103.53)
SAM_STD = (58.395, 57.12, 57.375)
# How a frame is resized for the encoder; sizes, coordinates and the masks' way back follow from it.
# cv2: OpenCV's bilinear; pil: segment-anything's ResizeLongestSide and postprocess_masks; nanosam: NanoSAM's predictor.
Resize = Literal["cv2", "pil", "nanosam"]
RESIZES: tuple[Resize, ...] = get_args(Resize)


class Padding(NamedTuple):
    """Where the frame lies in the detector's square, and the level of the rest."""

    centred: bool = True  # else at the left and top, as super-gradients' YOLO-NAS-Pose wants it
    value: int = LETTERBOX_VALUE  # 0..255

    def __str__(self) -> str:
        return f"{'around' if self.centred else 'bottom-right'} {self.value}"

    @classmethod
    def parse(cls, text: str) -> Padding | None:
        """Return the padding of which `text` is the str; None for another text."""
        paddings = (cls(centred, value) for centred in (True, False) for value in range(256))
        return next((each for each in paddings if str(each) == text), None)


CENTRED = Padding()


def check_resize(resize: str) -> None:
    """Raise UsageError unless it is one of RESIZES."""
    if resize not in RESIZES:
        raise UsageError(f"resize: wanted one of {', '.join(RESIZES)}, got {resize}")


def default_rescale_px(detector_px: int) -> int:
    """Return the default longer side of a frame in the detector's input: super-gradients scales to 636, pads to 640."""
    return 636 if detector_px == 640 else detector_px


@dataclass(frozen=True)
class Geometry:
    """Maps from one frame size: detector px = frame px * scale + offset, encoder px = frame px * scale."""

    frame_hw: tuple[int, int]
    detector_px: int  # side of the detector's square input
    detector_hw: tuple[int, int]  # the frame after resizing, inside that square
    detector_scale: float
    detector_offset: tuple[int, int]  # left, top, in pixels of the detector's input
    encoder_px: int  # side of the encoder's square input
    encoder_hw: tuple[int, int]
    encoder_scale: tuple[float, float]  # x, y: they differ by the rounding of encoder_hw
    resize: Resize = "cv2"

    @classmethod
    def of(
        cls,
        frame_hw: tuple[int, int],
        detector_px: int,
        rescale_px: int,
        encoder_px: int,
        resize: Resize = "cv2",
        padding: Padding = CENTRED,
    ) -> Geometry:
        """Return the geometry of frames of one size.

        Rounding is the originals': super-gradients' `DetectionLongestMaxSizeRescale` rounds half to even and keeps
        the unrounded scale; segment-anything's `ResizeLongestSide` rounds half up and uses the ratio of rounded sizes;
        NanoSAM's predictor truncates and keeps the unrounded scale.

        Args:
            frame_hw: Height and width of the frame.
            detector_px: Side of the detector's square input.
            rescale_px: Longer side of the frame inside it.
            encoder_px: Side of the encoder's square input.
            resize: How frames are resized for the encoder.
            padding: Where the frame lies in the detector's input.

        Raises:
            UsageError: For an unknown `resize`.
        """
        check_resize(resize)
        height, width = frame_hw
        scale = min(rescale_px / height, rescale_px / width)
        detector_h, detector_w = max(1, round(height * scale)), max(1, round(width * scale))
        longest = encoder_px / max(height, width)
        if resize == "nanosam":
            aspect = width / height  # its own spelling: another order of division truncates elsewhere
            encoder_w, encoder_h = (
                (encoder_px, int(encoder_px / aspect)) if aspect >= 1 else (int(encoder_px * aspect), encoder_px)
            )
        else:
            encoder_h, encoder_w = int(height * longest + 0.5), int(width * longest + 0.5)
        encoder_h, encoder_w = max(1, encoder_h), max(1, encoder_w)
        rest = (detector_px - detector_w, detector_px - detector_h)
        return cls(
            frame_hw=(height, width),
            detector_px=detector_px,
            detector_hw=(detector_h, detector_w),
            detector_scale=scale,
            detector_offset=(rest[0] // 2, rest[1] // 2) if padding.centred else (0, 0),
            encoder_px=encoder_px,
            encoder_hw=(encoder_h, encoder_w),
            encoder_scale=(longest, longest) if resize == "nanosam" else (encoder_w / width, encoder_h / height),
            resize=resize,
        )

    def vector(self) -> np.ndarray:
        """Return the graphs' `geometry` input, (8,) float32.

        Detector x_scale, y_scale, left_px, top_px; encoder x_scale, y_scale; frame w_px, h_px.
        """
        height, width = self.frame_hw
        detector = (self.detector_scale, self.detector_scale, *self.detector_offset)
        return np.array([*detector, *self.encoder_scale, width, height], np.float32)

    def to_detector(self, xy: np.ndarray) -> np.ndarray:
        """Map points (..., 2), or boxes (..., 4), from the frame to the detector's input."""
        return np.asarray(xy * np.float32(self.detector_scale) + _pairs(xy, self.detector_offset))

    def from_detector(self, xy: np.ndarray) -> np.ndarray:
        """Map points (..., 2), or boxes (..., 4), from the detector's input to the frame, without clipping."""
        return np.asarray((xy - _pairs(xy, self.detector_offset)) / np.float32(self.detector_scale))

    def to_encoder(self, xy: np.ndarray) -> np.ndarray:
        """Map points (..., 2), or boxes (..., 4), from the frame to the encoder's input."""
        return np.asarray(xy * _pairs(xy, self.encoder_scale))

    def clip(self, boxes: np.ndarray) -> np.ndarray:
        """Clip boxes (..., 4), xyxy in pixels of the frame, to the frame."""
        height, width = self.frame_hw
        return np.asarray(np.clip(boxes, 0, _pairs(boxes, (width, height))))

    def cells(self, grid: int) -> tuple[tuple[float, float], tuple[int, int]]:
        """Return the part of a `grid` x `grid` map over the encoder's square, such as logits, that the frame fills.

        Returns:
            Cells per pixel of the frame as (x, y), and (rows, columns) of the cells whose centre is in the frame. With
            `resize="nanosam"` those are the frame's whole cells, stretched over it, as NanoSAM's `upscale_mask` does.
        """
        if self.resize == "nanosam":
            height, width = self.frame_hw
            rows, columns = (max(1, int(grid * side / max(height, width))) for side in (height, width))
            return (columns / width, rows / height), (rows, columns)
        cell = grid / self.encoder_px
        rows, columns = (max(1, math.ceil(side * cell - 0.5)) for side in self.encoder_hw)
        return (self.encoder_scale[0] * cell, self.encoder_scale[1] * cell), (rows, columns)


def _pairs(like: np.ndarray, xy: tuple[float, float]) -> np.ndarray:
    return np.array(xy * (like.shape[-1] // 2), np.float32)
