"""Prompts through a mask decoder, in as many calls as it needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from nanoseg.backends.engine import Engine
from nanoseg.errors import UsageError
from nanoseg.processing.prompts import Prompts

# The decoder's memory grows with its prompts (24 MiB each at full size), so many are done in several calls.
PROMPTS_A_CALL = 16


def decode(
    engine: Engine, image_embeddings: Any, geometry: np.ndarray, prompts: Prompts
) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, M, 4g, 4g) and predicted IoU (N, M) of N >= 1 prompts; M is 1 or 4, as the engine's graph was made.

    `engine` is a segment graph, or a segment_mask graph where some prompt has a mask; `image_embeddings` is an array or
    what else that engine takes. Raises UsageError for prompts whose number of points it does not take.
    """
    calls = []
    count, points = engine.inputs["point_coords"].shape[:2]
    for some in portions(prompts, engine.name, PROMPTS_A_CALL if count is None else count, points, count != 1):
        feeds = {
            "image_embeddings": image_embeddings,
            "point_coords": some.coords,
            "point_labels": some.labels,
            "geometry": geometry,
        }
        if some.mask_input is not None and some.has_mask is not None:
            feeds |= {"mask_input": some.mask_input, "has_mask_input": some.has_mask}
        calls.append(engine(feeds))
    if len(calls) == 1:
        return calls[0]["low_res_masks"], calls[0]["iou_predictions"]
    masks, ious = ([out[name] for out in calls] for name in ("low_res_masks", "iou_predictions"))
    return np.concatenate(masks), np.concatenate(ious)


def portions(prompts: Prompts, name: str, most: int, points: int | None, absent: bool) -> Iterator[Prompts]:
    """What fits into one call each of the decoder `name`, which takes up to `most` prompts.

    `points` is how many it takes of each, None for any number; `absent` whether it knows points that are none. Raises
    UsageError for a prompt that it does not take.
    """
    if absent:
        yield from (prompts[start : start + most] for start in range(0, len(prompts), most))
        return
    # A decoder made elsewhere, which takes one prompt a call, and to which an absent point is one like any other.
    for index in range(len(prompts)):
        one = prompts.alone(index)
        got = one.coords.shape[1]
        if not got:
            raise UsageError(
                f"prompts[{index}]: this bundle's decoder wants a box or a point beside a mask, got the mask alone"
            )
        if points is not None and got != points:
            raise UsageError(
                f"prompts[{index}]: {name} takes exactly {points} points a prompt, got {got}; "
                "a box is 2 points, points without a box are one more than given"
            )
        yield one
