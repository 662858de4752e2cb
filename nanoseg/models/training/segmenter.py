"""The segmenter's training data, loss and evaluation: masks of prompted objects.

A batch is a few images; the prompts of one image go through the decoder in one call, as they do at run time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from nanoseg.errors import SourceError, needs
from nanoseg.evaluation.miou import mask_iou
from nanoseg.evaluation.scenes import Scene, Scenes
from nanoseg.models.training.scenes import jitter_colours, mirror, scene_indices
from nanoseg.processing.geometry import Geometry
from nanoseg.processing.masks import Masks
from nanoseg.processing.preprocess import Preprocessor
from nanoseg.types import Prompts

with needs("OpenCV", "opencv"):
    import cv2


@dataclass(frozen=True, eq=False)
class Example:
    """One image with its prompts and their masks; E is the side of the encoder's input, g = E / 16."""

    image: Tensor  # (3, E, E) float32, normalised, zero-padded
    coords: Tensor  # (N, P, 2) float32, E-pixel space
    labels: Tensor  # (N, P) float32
    target: Tensor  # (N, 4g, 4g) float32: share of each cell that the object covers


@lru_cache(maxsize=1)
def _preprocessor(image_size: int) -> Preprocessor:
    return Preprocessor(image_size, image_size, image_size)


def encoder_input(image: np.ndarray, image_size: int) -> tuple[Tensor, Geometry]:
    """Return the encoder's input (3, E, E) float32 as at run time, and the image's geometry in it."""
    prepared = _preprocessor(image_size).encoder_input(image)
    return torch.from_numpy(prepared.image[0].copy()), prepared.geometry


def coverage(mask: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Return the share of each low-resolution cell that a mask (H, W) bool covers: (4g, 4g) float32."""
    height, width = geometry.encoder_hw
    full = np.zeros((geometry.encoder_px, geometry.encoder_px), np.float32)
    full[:height, :width] = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    cells = geometry.encoder_px // 4
    return np.asarray(full.reshape(cells, 4, cells, 4).mean(axis=(1, 3)), np.float32)


def example(
    scenes: Scenes, index: int, image_size: int, max_objects: int, jitter_px: float, seed: int
) -> Example | None:
    """Return scene `index` as an example of at most `max_objects` objects, or None where it has none.

    Every object is prompted by its box, with noise of `jitter_px` like a detector's; every third one also by points
    on it, so that the decoder learns both.
    """
    rng = np.random.default_rng([seed, index])
    scene = scenes[index]
    scene = mirror(scene, rng.random() < 0.5, scenes.mirror_symmetric and rng.random() < 0.5)
    large = np.flatnonzero((scene.xyxy[:, 2:] - scene.xyxy[:, :2] >= 1).all(1))  # others are annotators' mistakes
    if len(large) == 0:
        return None
    chosen = rng.permutation(large)[:max_objects]
    masks = scene.masks()[chosen]
    pixels, geometry = encoder_input(jitter_colours(scene.image, rng), image_size)
    # Mostly a pixel off, at times many, as a detector's boxes are (measured on the demo's).
    jitter = np.clip(rng.laplace(0, jitter_px, (len(chosen), 4)), -6 * jitter_px, 6 * jitter_px)
    boxes = np.asarray(scene.xyxy[chosen] + jitter, np.float32)
    points, labels, objects = [b.reshape(2, 2) for b in boxes], [[2, 3]] * len(chosen), list(range(len(chosen)))
    for i in range(rng.integers(3), len(chosen), 3):
        xy, point_labels = _points_on(masks, i, rng)
        if len(xy):
            points, labels, objects = [*points, xy], [*labels, point_labels], [*objects, i]
    prompts = Prompts.from_points(points, labels)
    target = np.stack([coverage(mask, geometry) for mask in masks])[objects]
    coords = geometry.to_encoder(prompts.coords)
    return Example(pixels, *(torch.from_numpy(a) for a in (coords, prompts.labels, target)))


def _points_on(masks: np.ndarray, i: int, rng: np.random.Generator) -> tuple[np.ndarray, list[int]]:
    """Return one to three points well inside mask i, sometimes with one on another object as background."""
    inside = cv2.distanceTransform(np.pad(masks[i].astype(np.uint8), 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    if not inside.any():
        return np.zeros((0, 2), np.float32), []
    rows, columns = np.nonzero(inside > 0.3 * inside.max())
    picked = rng.integers(len(rows), size=rng.integers(1, 4))
    xy, labels = np.stack([columns[picked], rows[picked]], 1), [1] * len(picked)
    others = np.argwhere(np.delete(masks, i, axis=0).any(axis=0))
    if len(others) and rng.random() < 0.3:
        row, column = others[rng.integers(len(others))]
        xy, labels = np.concatenate([xy, [[column, row]]]), [*labels, 0]
    return np.asarray(xy + 0.5, np.float32), labels


def make_batch(
    scenes: Scenes, step: int, batch: int, image_size: int, max_objects: int, jitter_px: float, seed: int
) -> list[Example]:
    """Return the examples of one step, at least one; scenes without objects are left out.

    Where no scene of the step has an object, the first later step with one is taken.

    Raises:
        SourceError: No scene of the data set has an object.
    """
    for later in range(step, step + 1 + math.ceil(len(scenes) / batch)):
        indices = scene_indices(scenes, later, batch, seed)
        candidates = (example(scenes, i, image_size, max_objects, jitter_px, seed) for i in indices)
        if examples := [each for each in candidates if each is not None]:
            return examples
    raise SourceError("no object in any image of the data set: there is nothing to train on")


def mask_loss(logits: Tensor, iou: Tensor, target: Tensor) -> tuple[Tensor, dict[str, float]]:
    """Return SAM's loss, 20 x focal + dice + IoU regression, over all masks of every prompt, and its parts.

    All four masks get the loss, not the best one alone as in SAM: a box or three points are hardly ambiguous.

    Args:
        logits: (N, 4, 4g, 4g) mask logits.
        iou: (N, 4) predicted IoU.
        target: (N, 4g, 4g) in [0, 1].
    """
    wanted = target[:, None].expand_as(logits)
    probability = logits.sigmoid()
    entropy = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    focal = (entropy * (probability - wanted).abs().pow(2)).mean()
    area = probability.sum((2, 3)) + wanted.sum((2, 3))
    dice = (1 - (2 * (probability * wanted).sum((2, 3)) + 1) / (area + 1)).mean()
    with torch.no_grad():
        found, truth = logits > 0, wanted > 0.5
        union = (found | truth).sum((2, 3)).clamp_min(1)
        achieved = (found & truth).sum((2, 3)) / union
    regression = functional.mse_loss(iou, achieved)
    loss = 20 * focal + dice + regression
    parts = {"focal": 20 * focal, "dice": dice, "iou_error": regression, "iou": achieved.mean()}
    return loss, {name: float(value.detach()) for name, value in parts.items()}


def segmenter_loss(
    encoder: nn.Module, decoder: nn.Module, examples: list[Example], device: torch.device, bf16: bool
) -> tuple[Tensor, dict[str, float]]:
    """Return the loss of one batch and its parts, from one encoder call and one decoder call per image.

    With `bf16` the encoder runs under autocast, the decoder on a bfloat16 copy of its weights: autocast would cast
    its many normalisations to float32 and back, which took a third of the time of a step on a CPU.
    """
    images = torch.stack([e.image for e in examples]).to(device)
    weights: dict[str, Tensor] = dict(decoder.named_parameters())
    if bf16:
        images = images.contiguous(memory_format=torch.channels_last)
        weights = {name: w.bfloat16() if _may_be_bf16(name) else w for name, w in weights.items()}
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        embeddings = encoder(images).to(torch.bfloat16 if bf16 else torch.float32)
    outputs = [
        functional_call(decoder, weights, (embeddings[i : i + 1], e.coords.to(device), e.labels.to(device)))
        for i, e in enumerate(examples)
    ]
    logits = torch.cat([masks.float() for masks, _ in outputs])
    iou = torch.cat([value.float() for _, value in outputs])
    return mask_loss(logits, iou, torch.cat([e.target for e in examples]).to(device))


def _may_be_bf16(name: str) -> bool:
    """Return whether a weight of the decoder may lose precision; those that encode positions may not."""
    return name.startswith("mask_decoder.") or name == "prompt_encoder.no_mask_embed.weight"


@torch.no_grad()
def evaluate_segmenter(encoder: nn.Module, decoder: nn.Module, scenes: Scenes, count: int, image_size: int) -> float:
    """Return the mean IoU over all objects of `count` scenes, prompted by their true boxes."""
    device = next(encoder.parameters()).device
    values: list[float] = []
    for index in range(min(count, len(scenes))):
        scene: Scene = scenes[index]
        if len(scene.xyxy) == 0:
            continue
        pixels, geometry = encoder_input(scene.image, image_size)
        prompts = Prompts.from_boxes(scene.xyxy)
        coords, labels = (torch.from_numpy(a).to(device) for a in (geometry.to_encoder(prompts.coords), prompts.labels))
        logits, iou = decoder(encoder(pixels[None].to(device)), coords, labels)
        best = logits[torch.arange(len(iou)), iou.argmax(1)].cpu().numpy()
        found = Masks(best, iou.amax(1).cpu().numpy(), geometry, scene.xyxy).full()
        values += [mask_iou(one, other) for one, other in zip(found, scene.masks(), strict=True)]
    return float(np.mean(values)) if values else 0.0
