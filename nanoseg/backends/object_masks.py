"""The masks of a frame's objects, one for boxes that are one object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nanoseg.backends.pipeline import AnyPipeline
from nanoseg.processing.boxes import shared_prompts
from nanoseg.processing.geometry import Geometry
from nanoseg.processing.masks import Masks


def object_masks(
    pipeline: AnyPipeline,
    embedding: Any,
    geometry: Geometry,
    xyxy: np.ndarray,
    *,
    own: bool = True,
    on_embedded: Callable[[], None] | None = None,
) -> Masks:
    """Decode the masks of N boxes, limited to them; `Pipeline.box_masks` has the rest.

    Args:
        pipeline: The pipeline.
        embedding: As box_masks() takes it.
        geometry: As there.
        xyxy: (N, 4) float32, in pixels of the frame, most confident first.
        own: As there.
        on_embedded: As there; not called without boxes.

    Returns:
        The mask of each box.
    """
    if not len(xyxy):
        return Masks.none(geometry)
    asked, own_prompt = shared_prompts(xyxy)
    prompts = xyxy[asked]
    logits, confidence = pipeline.box_masks(embedding, geometry, prompts, own=own, on_embedded=on_embedded)
    # Limited to the box: beyond it lies another object's.
    return Masks.from_output(logits, confidence, geometry, boxes=prompts).of_detections(own_prompt)
