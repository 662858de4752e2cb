"""The masks of a frame's objects, one for boxes that are one object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nanoseg.backends.pipeline import AnyPipeline
from nanoseg.processing.boxes import shared_prompts
from nanoseg.processing.masks import Masks


def object_masks(
    pipeline: AnyPipeline, frame: Any, xyxy: np.ndarray, *, own: bool, on_embedded: Callable[[], None]
) -> Masks:
    """Decode the masks of N boxes of the frame that a pipeline has in flight; `Pipeline.box_masks` has the rest.

    Args:
        pipeline: The pipeline.
        frame: What its start() returned.
        xyxy: (N, 4) float32, in pixels of the frame, most confident first.
        own: As box_masks() takes it.
        on_embedded: As there; not called without boxes.

    Returns:
        The mask of each box.
    """
    if not len(xyxy):
        return Masks.none(frame.geometry)
    asked, own_prompt = shared_prompts(xyxy)
    prompts, embedding = xyxy[asked], pipeline.embedding(frame)
    logits, confidence = pipeline.box_masks(embedding, frame.geometry, prompts, own=own, on_embedded=on_embedded)
    # Limited to the box: beyond it lies another object's.
    return Masks.from_output(logits, confidence, frame.geometry, boxes=prompts).of_prompts(own_prompt)
