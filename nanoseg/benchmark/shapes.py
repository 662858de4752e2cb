"""Shapes of the inputs of a bundle's graphs for a frame with some objects, as the TensorRT pipeline fills them up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from nanoseg.bundle.signature import read_signature
from nanoseg.engines.recipe import PROMPTS, read_recipe
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
    used = len(tiles.prompts)
    count = min((boxes * each for each in TILES_A_BOX if boxes * each >= used), default=used)
    return {"boxes": (boxes, 4), "tile_prompts": (count,), "tile_tokens": (count, tiles.tokens.shape[1])}


def decoder_calls(bundle: Bundle, objects: int) -> list[tuple[str, Shapes]]:
    """Return the calls of a decoder that the masks of some objects take: its graph, and the shapes of its inputs.

    The engines are those of nanoseg's own recipes, which say how many objects a call takes.
    """
    from nanoseg.backends.tensorrt.pipeline.memory_plan import bucket_sizes

    name = "segment_boxes" if "segment_boxes" in bundle.graphs else "segment"
    prompts = read_recipe(name).dimensions[PROMPTS]
    sizes = bucket_sizes(prompts.min, prompts.max)
    if name == "segment" and (fixed := read_signature(bundle.graphs[name].path).inputs["point_coords"].shape[0]):
        sizes = [fixed]  # a decoder made elsewhere
    calls = []
    for first in range(0, objects, sizes[-1]):
        count = next(each for each in sizes if each >= min(objects - first, sizes[-1]))
        if name == "segment_boxes":
            calls.append((name, box_shapes(count, frame_geometry(bundle))))
        else:
            calls.append((name, {"point_coords": (count, 2, 2), "point_labels": (count, 2)}))
    return calls
