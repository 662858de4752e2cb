"""The detector's training data, loss and evaluation: letterboxed images and their boxes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from nanoseg.errors import needs
from nanoseg.evaluation.coco import coco_map
from nanoseg.evaluation.scenes import Scenes
from nanoseg.models.training.scenes import jitter_colours, mirror, scene_indices
from nanoseg.processing.boxes import Boxes
from nanoseg.processing.geometry import LETTERBOX_VALUE
from nanoseg.processing.nms import nms

with needs("OpenCV", "opencv"):
    import cv2

EVALUATED_ROWS = 300  # most confident rows of one image that COCO's mAP is computed from


class LabelledBoxes(NamedTuple):
    """Ground truth of one image."""

    xyxy: np.ndarray  # (N, 4) float32, pixels of the network's input
    class_id: np.ndarray  # (N,) int64


@dataclass(frozen=True)
class Letterbox:
    """Placement of images in the detector's square input."""

    image_size: int  # side S of the input, pixels
    rescale_px: int  # longest side of an image in it, pixels
    zoom: tuple[float, float] = (1.0, 1.0)  # range of a random factor on the scale


def letterboxed(
    image: np.ndarray, xyxy: np.ndarray, letterbox: Letterbox, rng: np.random.Generator | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the image in an S x S grey square, and its boxes there; with `rng`, randomly placed."""
    height, width = image.shape[:2]
    size = letterbox.image_size
    factor = float(rng.uniform(*letterbox.zoom)) if rng is not None else 1.0
    scale = min(letterbox.rescale_px / height, letterbox.rescale_px / width) * factor
    new_w, new_h = max(1, round(width * scale)), max(1, round(height * scale))
    resized = cv2.resize(image, (new_w, new_h), interpolation=cv2.INTER_LINEAR)
    if rng is None or letterbox.zoom == (1.0, 1.0):
        left, top = (size - new_w) // 2, (size - new_h) // 2
    else:
        left, top = (int(rng.integers(min(0, size - n), max(0, size - n) + 1)) for n in (new_w, new_h))
    square = np.full((size, size, 3), LETTERBOX_VALUE, np.uint8)
    x0, y0, x1, y1 = max(0, left), max(0, top), min(size, left + new_w), min(size, top + new_h)
    square[y0:y1, x0:x1] = resized[y0 - top : y1 - top, x0 - left : x1 - left]
    boxes = xyxy * np.float32(scale) + np.array([left, top, left, top], np.float32)
    return square, boxes


def example(scenes: Scenes, index: int, letterbox: Letterbox, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return scene `index`, augmented at random.

    Returns:
        The image (3, S, S) uint8 RGB, and its targets (N, 5) float32: class, cx, cy, w, h in 0..1.
    """
    rng = np.random.default_rng([seed, index])
    scene = scenes[index]
    scene = mirror(scene, rng.random() < 0.5, scenes.mirror_symmetric and rng.random() < 0.5)
    square, boxes = letterboxed(jitter_colours(scene.image, rng), scene.xyxy, letterbox, rng)
    inside = boxes.clip(0, letterbox.image_size)
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    seen = np.prod(inside[:, 2:] - inside[:, :2], axis=1) > 0.3 * np.maximum(area, 1e-6)
    seen &= (scene.xyxy[:, 2:] - scene.xyxy[:, :2] >= 1).all(1)  # smaller ones are mistakes of the annotators
    kept, classes = inside[seen] / letterbox.image_size, scene.class_id[seen, None]
    centre, size = (kept[:, :2] + kept[:, 2:]) / 2, kept[:, 2:] - kept[:, :2]
    target = np.concatenate([classes, centre, size], axis=1).astype(np.float32)
    return np.ascontiguousarray(square[:, :, ::-1].transpose(2, 0, 1)), target


def make_batch(scenes: Scenes, step: int, batch: int, letterbox: Letterbox, seed: int) -> tuple[Tensor, Tensor]:
    """Return the batch of a step.

    Returns:
        Images (B, 3, S, S) uint8 RGB, and targets (M, 6) float32: image index, class, cx, cy, w, h in 0..1.
    """
    images, targets = [], []
    for i, index in enumerate(scene_indices(scenes, step, batch, seed)):
        image, target = example(scenes, index, letterbox, seed)
        images.append(image)
        targets.append(np.concatenate([np.full((len(target), 1), i, np.float32), target], axis=1))
    return torch.from_numpy(np.stack(images)), torch.from_numpy(np.concatenate(targets))


def detector_loss(
    network: nn.Module, criterion: Callable[..., Any], images: Tensor, targets: Tensor, static: bool, bf16: bool
) -> tuple[Tensor, dict[str, float]]:
    """Return the loss of one batch and its parts.

    Args:
        network: YoloNas in training mode.
        criterion: modern-yolonas's PPYoloELoss.
        images: (B, 3, S, S) uint8 RGB.
        targets: (M, 6) float32, as `make_batch` gives them.
        static: Assign boxes by distance alone, for the first steps, while predictions are still noise.
        bf16: Run the network under bfloat16 autocast.
    """
    device = next(network.parameters()).device
    images = images.to(device)
    if bf16:  # measured on a CPU with AMX: a third faster with the channels last
        images = images.contiguous(memory_format=torch.channels_last)
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        predictions = network(images.float().div_(255))
    size = (int(images.shape[2]), int(images.shape[3]))
    loss, parts = criterion(predictions, targets.to(device), input_size=size, epoch=0 if static else 1)
    return loss, {name.removesuffix("_loss"): float(value) for name, value in parts.items() if name != "total_loss"}


@torch.no_grad()
def evaluate_detector(network: nn.Module, scenes: Scenes, count: int, letterbox: Letterbox) -> dict[str, float]:
    """Return COCO's map50_95 and map50 on the first `count` scenes, in pixels of the network's input."""
    device = next(network.parameters()).device
    truths: list[LabelledBoxes] = []
    detections: list[Boxes] = []
    for index in range(min(count, len(scenes))):
        scene = scenes[index]
        square, boxes = letterboxed(scene.image, scene.xyxy, letterbox, None)
        image = torch.from_numpy(np.ascontiguousarray(square[:, :, ::-1].transpose(2, 0, 1)))
        decoded = network(image.to(device)[None].float().div_(255))
        found, scores = decoded.boxes[0].cpu().numpy(), decoded.scores[0].cpu().numpy()
        best = np.argsort(-scores, axis=None, kind="stable")[:EVALUATED_ROWS]
        anchors, classes = np.unravel_index(best, scores.shape)
        rows = found[anchors], scores[anchors, classes], classes.astype(np.int64)
        kept = nms(*rows, confidence=0.01, iou=0.7)
        truths.append(LabelledBoxes(boxes, scene.class_id))
        detections.append(Boxes(rows[0][kept], rows[1][kept], rows[2][kept]))
    metrics = coco_map(truths, detections)._asdict()
    return {name: value for name, value in metrics.items() if value is not None}
