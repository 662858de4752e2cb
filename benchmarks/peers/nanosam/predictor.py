"""NanoSAM's predictor on one frame, the reference that the pipeline is compared with.

After `nanosam/utils/predictor.py` of github.com/NVIDIA-AI-IOT/nanosam: the image prepared by Pillow and torch on the
host, the decoder called once a box, all four masks of each stretched over the whole image. It knows no detector; in
front of it stands one prepared as super-gradients does it, with OpenCV and numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np
import torch
from PIL import Image

from nanoseg.processing.geometry import LETTERBOX_VALUE, SAM_MEAN, SAM_STD, Geometry

RunNetwork = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]
LOGITS_PX = 256  # a side of its decoder's masks
BOX_LABELS = np.array([2, 3], np.float32)  # a box is two points: left top and right bottom


def letterbox(frame: np.ndarray, geometry: Geometry) -> np.ndarray:
    """The detector's input, (1, 3, S, S) float32, of a (H, W, 3) uint8 BGR frame."""
    height, width = geometry.detector_hw
    left, top = geometry.detector_offset
    side = geometry.detector_px
    resized = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
    sides = (top, side - height - top, left, side - width - left)
    padded = cv2.copyMakeBorder(resized, *sides, cv2.BORDER_CONSTANT, value=(LETTERBOX_VALUE,) * 3)
    scaled = padded[..., ::-1].astype(np.float32) / 255
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))[None]


def preprocess_image(image: Image.Image, size: int) -> torch.Tensor:
    """The encoder's input, (1, 3, size, size) float32: longest side `size`, truncated, normalised, padded with 0."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (SAM_MEAN, SAM_STD))
    aspect = image.width / image.height
    width, height = (size, int(size / aspect)) if aspect >= 1 else (int(size * aspect), size)
    # A copy, as torch warns of memory that may not be written.
    resized = torch.from_numpy(np.array(image.resize((width, height)))).permute(2, 0, 1)
    out = torch.zeros((1, 3, size, size))
    out[0, :, :height, :width] = (resized.float() - mean) / std
    return out


def upscale_mask(logits: torch.Tensor, size_hw: tuple[int, int], size: int = LOGITS_PX) -> torch.Tensor:
    """Logits (1, 4, size, size) over the encoder's square -> (1, 4, H, W) over the image."""
    height, width = size_hw
    if width > height:
        columns, rows = size, int(size * height / width)
    else:
        columns, rows = int(size * width / height), size
    return torch.nn.functional.interpolate(logits[:, :, :rows, :columns], size_hw, mode="bilinear")


class Predictor:
    """One image at a time: set_image, then predict as often as there are boxes."""

    def __init__(self, encoder: RunNetwork, decoder: RunNetwork, size: int = 1024) -> None:
        """`decoder` is NanoSAM's: one prompt a call, with mask input; `size` is the side of the encoder's input."""
        self.encoder, self.decoder, self.size = encoder, decoder, size

    def set_image(self, image: Image.Image) -> None:
        """Embed an RGB image."""
        self.image = image
        prepared = preprocess_image(image, self.size)
        self.features = self.encoder({"image": prepared.numpy()})["image_embeddings"]

    def predict(self, box: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """All masks' logits (1, 4, H, W), and their predicted IoU (1, 4), of a box (4,) xyxy in the image."""
        size_hw = (self.image.height, self.image.width)
        side = self.size // 4
        out = self.decoder(
            {
                "image_embeddings": self.features,
                "point_coords": (box.reshape(1, 2, 2) * (self.size / max(size_hw))).astype(np.float32),
                "point_labels": BOX_LABELS[None],
                "mask_input": np.zeros((1, 1, side, side), np.float32),
                "has_mask_input": np.zeros(1, np.float32),
            }
        )
        logits, iou = (torch.from_numpy(out[name]) for name in ("low_res_masks", "iou_predictions"))
        return upscale_mask(logits, size_hw, side), iou

    def mask(self, box: np.ndarray) -> np.ndarray:
        """The mask of the highest predicted IoU, (H, W) bool, as NanoSAM's own evaluation takes it."""
        logits, iou = self.predict(box)
        return (logits[0, int(iou[0].argmax())] > 0).numpy()
