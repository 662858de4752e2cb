"""Prompts for the mask decoders: the decoder that takes them, and batches for as many calls as it needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from nanoseg.backends.engine import Engine
from nanoseg.backends.pipeline import MaskOutput
from nanoseg.engines.recipe import TILES_A_PROMPT
from nanoseg.errors import BundleError, UsageError
from nanoseg.processing.geometry import Geometry
from nanoseg.processing.prompts import Prompts
from nanoseg.processing.tiles import Tiles, mask_hw

if TYPE_CHECKING:
    from nanoseg.bundle import Bundle

# The decoder's memory grows with its prompts (24 MiB each at full size), so many are split into several calls.
PROMPTS_PER_CALL = 16
TILES_PER_CALL = TILES_A_PROMPT * PROMPTS_PER_CALL  # as engines for so many prompts take


def choose_decoder(bundle: Bundle, masks_per_prompt: Mapping[str, int], prompts: Prompts, all_masks: bool) -> str:
    """Return the decoder of a bundle that takes these prompts.

    Args:
        bundle: The bundle, for messages and the size of its masks.
        masks_per_prompt: Its decoders with the number of masks that each returns for a prompt.
        prompts: The prompts.
        all_masks: Whether all four masks of a prompt are wanted.

    Returns:
        segment, or segment_mask for masks as prompts.

    Raises:
        BundleError: For masks as prompts of a bundle without segment_mask.
        UsageError: For masks of another size, and for `all_masks` of a decoder that returns the best alone.
    """
    name = "segment"
    if prompts.mask_input is not None:
        name = "segment_mask"
        if name not in masks_per_prompt:
            raise BundleError(
                f"{bundle.path}: has no segment_mask.onnx, which masks as prompts need; "
                "make a bundle that has it with nanoseg bundle make --mask-prompts, or --mask-decoder FILE"
            )
        got, side = prompts.mask_input.shape[-1], bundle.encoder_px // 4
        if got != side:
            raise UsageError(f"mask_input: wanted logits ({side}, {side}), as this bundle's masks have, got {got}")
    if all_masks and masks_per_prompt[name] == 1:
        raise UsageError(
            f"all_masks: {bundle.path} gives one mask a prompt; all four want a bundle made with "
            "nanoseg bundle make --masks all, of a decoder that gives four"
        )
    return name


def decode(engine: Engine, image_embeddings: Any, geometry: np.ndarray, prompts: Prompts) -> MaskOutput:
    """Decode the masks of N >= 1 prompts.

    Args:
        engine: A segment graph, or a segment_mask graph where some prompt has a mask.
        image_embeddings: An array, or a device output that the engine takes instead.
        geometry: (8,) float32, `Geometry.vector()` of the frame.
        prompts: N prompts in pixels of the frame.

    Returns:
        Logits (N, M, 4g, 4g) and predicted IoU (N, M); M is 1 or 4, as the engine's graph was made.

    Raises:
        UsageError: For prompts whose number of points the engine does not take.
    """
    outputs = []
    count, points = engine.inputs["point_coords"].shape[:2]
    largest_batch = PROMPTS_PER_CALL if count is None else count
    for batch in split_prompts(prompts, engine.name, largest_batch, points, takes_absent=count != 1):
        feeds = {
            "image_embeddings": image_embeddings,
            "point_coords": batch.coords,
            "point_labels": batch.labels,
            "geometry": geometry,
        }
        if batch.mask_input is not None and batch.has_mask is not None:
            feeds |= {"mask_input": batch.mask_input, "has_mask_input": batch.has_mask}
        outputs.append(engine(feeds))
    if len(outputs) == 1:
        return outputs[0]["low_res_masks"], outputs[0]["iou_predictions"]
    logits, iou = ([out[name] for out in outputs] for name in ("low_res_masks", "iou_predictions"))
    return np.concatenate(logits), np.concatenate(iou)


def decode_boxes(engine: Engine, image_embeddings: Any, geometry: Geometry, boxes: np.ndarray) -> MaskOutput:
    """Decode the masks of N >= 1 boxes, there alone: logits elsewhere are NOT_COMPUTED.

    Args:
        engine: A segment_boxes graph.
        image_embeddings: An array, or a device output that the engine takes instead.
        geometry: The frame's geometry.
        boxes: (N, 4) float32, xyxy in pixels of the frame.

    Returns:
        Logits (N, 1, 4g, 4g) and predicted IoU (N, 1).
    """
    logits = np.empty((len(boxes), 1, *mask_hw(geometry)), np.float32)
    iou = np.empty((len(boxes), 1), np.float32)
    for part, tiles in Tiles.of(boxes, geometry).batches(PROMPTS_PER_CALL, TILES_PER_CALL):
        batch = boxes[part]
        outputs = engine(
            {
                "image_embeddings": image_embeddings,
                "boxes": batch,
                "geometry": geometry.vector(),
                "tile_prompts": tiles.prompts,
                "tile_tokens": tiles.tokens,
            }
        )
        tiles.place(outputs["tile_logits"], logits[part, 0])
        iou[part] = outputs["iou_predictions"]
    return logits, iou


def split_prompts(
    prompts: Prompts, name: str, largest_batch: int, points: int | None, takes_absent: bool
) -> Iterator[Prompts]:
    """Split prompts into batches of one decoder call each.

    Args:
        prompts: N prompts.
        name: The decoder's name in error messages.
        largest_batch: Number of prompts that it takes in a call, at most.
        points: Number of points that it takes of each prompt, None for any.
        takes_absent: Whether it ignores absent points. A decoder made elsewhere takes one prompt a call, and an absent
            point is one like any other to it.

    Raises:
        UsageError: For a prompt that it does not take.
    """
    if takes_absent:
        yield from (prompts[start : start + largest_batch] for start in range(0, len(prompts), largest_batch))
        return
    for index in range(len(prompts)):
        prompt = prompts.single(index)
        count = prompt.coords.shape[1]
        if not count:
            raise UsageError(
                f"prompts[{index}]: this bundle's decoder wants a box or a point beside a mask, got the mask alone"
            )
        if points is not None and count != points:
            raise UsageError(
                f"prompts[{index}]: {name} takes exactly {points} points a prompt, got {count}; "
                "a box is 2 points, points without a box are one more than given"
            )
        yield prompt
