"""Shapes of the inputs of a bundle's graphs for a frame with some objects, as the TensorRT pipeline fills them up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from nanoseg.backends.prompt_batches import PROMPTS_PER_CALL
from nanoseg.processing.geometry import Geometry
from nanoseg.processing.tiles import Tiles

if TYPE_CHECKING:
    from nanoseg.bundle import Bundle

Shapes = Mapping[str, tuple[int, ...]]
FRAME_HW = (720, 1280)
BOX_PX = 272  # side of each: 8 % of the frame


def frame_geometry(bundle: Bundle) -> Geometry:
    """Return the geometry of a frame of FRAME_HW."""
    return Geometry.of(FRAME_HW, bundle.detector_px, bundle.rescale_px, bundle.encoder_px)


def box_shapes(boxes: int, geometry: Geometry) -> Shapes:
    """Return the shapes of the inputs of segment_boxes, filled up with tiles as the pipeline fills them up."""
    from nanoseg.backends.tensorrt.pipeline.box_decoder import TILES_A_BOX

    corner = np.linspace(0, 1, boxes)[:, None] * (FRAME_HW[1] - BOX_PX, FRAME_HW[0] - BOX_PX)
    tiles = Tiles.of(np.concatenate([corner, corner + BOX_PX], 1).astype(np.float32), geometry)
    count = min(boxes * each for each in TILES_A_BOX if boxes * each >= len(tiles.prompts))
    return {"boxes": (boxes, 4), "tile_prompts": (count,), "tile_tokens": (count, tiles.tokens.shape[1])}


def decoder_calls(bundle: Bundle, objects: int) -> list[tuple[str, Shapes]]:
    """Return the calls of a decoder that the masks of some objects take: its graph, and the shapes of its inputs."""
    from nanoseg.backends.tensorrt.pipeline.memory_plan import BUCKETS

    calls = []
    for first in range(0, objects, PROMPTS_PER_CALL):
        count = min(each for each in BUCKETS if each >= min(objects - first, PROMPTS_PER_CALL))
        if "segment_boxes" in bundle.graphs:
            calls.append(("segment_boxes", box_shapes(count, frame_geometry(bundle))))
        else:
            calls.append(("segment", {"point_coords": (count, 2, 2), "point_labels": (count, 2)}))
    return calls
