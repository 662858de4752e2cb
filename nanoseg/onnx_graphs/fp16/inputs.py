"""Inputs of a network for one image: its pixels, or for a mask decoder an embedding with prompts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nanoseg.backends.onnxruntime.engine import OrtEngine
from nanoseg.backends.prompt_batches import PROMPTS_PER_CALL
from nanoseg.errors import BundleError
from nanoseg.evaluation.scenes import Scene
from nanoseg.onnx_graphs.adapt.encoder import load_encoder
from nanoseg.onnx_graphs.model.contract import MASK_INPUTS, SourceNetwork
from nanoseg.processing.geometry import CELL_PX, Geometry
from nanoseg.processing.preprocess import Preprocessor
from nanoseg.types import BOTTOM_RIGHT, FOREGROUND, PADDING, TOP_LEFT

GRID = 3  # boxes a side, where the objects of an image are not known
POINTS = 2  # of a prompt: a box's corners, or a point and SAM's padding point


@dataclass(frozen=True, eq=False)
class Inputs:
    """A network's inputs for an image, or for some prompts of one."""

    feeds: Mapping[str, np.ndarray]  # valid until the next ones
    geometry: Geometry
    boxes: np.ndarray | None = None  # (n, 4) xyxy in pixels of the image, where a decoder's prompts are these
    first: int = 0  # number of the image's boxes before these


class ImageInputs:
    """Inputs of an image encoder or a detector."""

    def __init__(self, preprocessor: Preprocessor, *, is_encoder: bool) -> None:
        self._preprocessor, self._is_encoder = preprocessor, is_encoder

    def __call__(self, scene: Scene) -> Iterator[Inputs]:
        """Yield the network's inputs for a scene."""
        if self._is_encoder:
            prepared = self._preprocessor.encoder_input(scene.image)
            yield Inputs({"image": prepared.image}, prepared.geometry)
        else:
            prepared = self._preprocessor(scene.image)
            yield Inputs({"images": prepared.images}, prepared.geometry)


class DecoderInputs:
    """Inputs of a mask decoder: an encoder's embedding, with boxes, points, and masks where it takes them.

    The boxes are the true ones, or a grid where none are known. Each box's centre is a prompt, too; and each box with
    the mask that the decoder gave for it, where the decoder takes masks.
    """

    def __init__(self, encoder: Path, decoder: SourceNetwork) -> None:
        """Load the encoder.

        Raises:
            BundleError: it is none, or gives other embeddings than the decoder wants, or the decoder wants another
                number of points.
        """
        if decoder.dims.get("P", POINTS) != POINTS:
            raise BundleError(
                f"{decoder.path}: 'point_coords' wants any number of points, or {POINTS}, got {decoder.dims['P']}; "
                "export it so"
            )
        network = load_encoder(encoder)
        check_embeddings(network, decoder)
        self._preprocessor = Preprocessor(CELL_PX, CELL_PX, network.dims["E"])
        self._encoder = OrtEngine(network.model.SerializeToString(), name=encoder.name)
        self._batch = decoder.dims.get("N", PROMPTS_PER_CALL)
        self._masks: _MaskPrompts | None = None
        if MASK_INPUTS[0] in {value.name for value in decoder.model.graph.input}:
            self._masks = _MaskPrompts(decoder)

    def __call__(self, scene: Scene) -> Iterator[Inputs]:
        """Yield the decoder's inputs for the prompts of a scene, as many at once as it takes."""
        prepared = self._preprocessor.encoder_input(scene.image)
        embedding = self._encoder({"image": prepared.image})
        every = boxes_of(scene)
        for first in range(0, len(every), self._batch):
            boxes = every[first : first + self._batch]
            corners = prepared.geometry.to_encoder(boxes).astype(np.float32).reshape(-1, 2, 2)
            centres = corners.mean(1, keepdims=True)
            for coords, labels, of_boxes in (
                (corners, (TOP_LEFT, BOTTOM_RIGHT), True),
                (np.concatenate([centres, np.zeros_like(centres)], 1), (FOREGROUND, PADDING), False),
            ):
                prompts = {
                    "point_coords": coords,
                    "point_labels": np.tile(np.array(labels, np.float32), (len(boxes), 1)),
                }
                feeds = {**embedding, **prompts}
                if self._masks is None:
                    yield Inputs(feeds, prepared.geometry, boxes if of_boxes else None, first)
                else:
                    without, with_masks = self._masks(feeds)
                    yield Inputs(without, prepared.geometry, boxes if of_boxes else None, first)
                    yield Inputs(with_masks, prepared.geometry)


class _MaskPrompts:
    """Masks as prompts, of the decoder itself."""

    def __init__(self, decoder: SourceNetwork) -> None:
        self._engine = OrtEngine(decoder.model.SerializeToString(), name=decoder.path.name)
        self._side = 4 * decoder.dims["g"]

    def __call__(self, feeds: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Return the inputs without masks, and with the mask that the decoder gives for each."""
        count = len(feeds["point_coords"])
        nothing = np.zeros((count, 1, self._side, self._side), np.float32)
        without = {**feeds, "mask_input": nothing, "has_mask_input": np.zeros(count, np.float32)}
        found = self._engine(without)
        best = found["low_res_masks"][np.arange(count), found["iou_predictions"].argmax(1)]
        return without, {**feeds, "mask_input": best[:, None], "has_mask_input": np.ones(count, np.float32)}


def check_embeddings(encoder: SourceNetwork, decoder: SourceNetwork) -> None:
    """Raise BundleError where a decoder takes other embeddings than an encoder produces."""
    if (got := decoder.dims["g"]) != (gives := encoder.dims["g"]):
        raise BundleError(
            f"{decoder.path}: 'image_embeddings' wants (1, 256, {got}, {got}), "
            f"but {encoder.path} gives (1, 256, {gives}, {gives}); export both for one image size"
        )


def boxes_of(scene: Scene) -> np.ndarray:
    """Return the boxes to prompt with, (n, 4) float32: a scene's true ones, or a grid where none are known."""
    height, width = scene.image.shape[:2]
    return np.asarray(scene.xyxy if len(scene.xyxy) else grid_of_boxes(height, width), np.float32)


def grid_of_boxes(height: int, width: int) -> np.ndarray:
    """Return (GRID ** 2, 4) float32 boxes, xyxy in pixels, that tile an image."""
    top, left = np.mgrid[:GRID, :GRID].reshape(2, -1)
    corners = np.stack([left, top, left + 1, top + 1], 1) / GRID
    return np.asarray(corners * [width, height, width, height], np.float32)
