"""Tensors of a pipeline on a GPU and their shapes, from which it allocates memory and footprint() estimates it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np

from nanoseg.backends.cuda.memory import size_of
from nanoseg.backends.engine import TensorSpec
from nanoseg.backends.pipeline import DECODERS
from nanoseg.backends.tensorrt.context import ALIGNMENT, Shape
from nanoseg.errors import EngineError
from nanoseg.processing.tiles import BLOCK, TILE_TOKENS

TensorSizes = Mapping[str, tuple[Shape, np.dtype]]  # the largest shape of each tensor, and its dtype

# Engines whose contexts run in one stream, so never at once: they share one block of activation memory.
ACTIVATION_GROUPS = (("prepare", "detect"), ("embed",), (*DECODERS, "segment_boxes"))
ROUNDS = 2  # batches of prompts in flight: the host takes one out while the GPU decodes the next
# Numbers of prompts with a graph of their own: the decoder's time grows with its prompts, so that few run as if more.
BUCKETS = (*range(1, 9), 10, 12, 16)
STREAM_SLOTS = 2  # frame slots that Segmenter.stream() needs beside the one of single frames
THRESHOLDS = ("confidence", "iou")
MASK_TENSORS = ("mask_input", "has_mask_input")
LOGITS, CONFIDENCE = "low_res_masks", "iou_predictions"  # outputs of a decoder
TILE_LOGITS = "tile_logits"  # of segment_boxes
_FLOAT = np.dtype(np.float32)


class NetworkIO(Protocol):
    """Inputs and outputs of a network: an engine's, or those of a graph's signature."""

    @property
    def inputs(self) -> Mapping[str, TensorSpec]: ...

    @property
    def outputs(self) -> Mapping[str, TensorSpec]: ...


class BlockLayout:
    """Tensors one after another in a block of memory, each at a multiple of ALIGNMENT bytes."""

    def __init__(self, tensors: TensorSizes) -> None:
        self._tensors = dict(tensors)
        self._offsets: dict[str, int] = {}
        self.nbytes = 0
        for name, (shape, dtype) in self._tensors.items():
            self._offsets[name] = self.nbytes
            self.nbytes += -(-size_of(shape, dtype) // ALIGNMENT) * ALIGNMENT

    def locate(self, name: str, shape: Shape | None) -> tuple[Shape, np.dtype, int]:
        """Return shape, dtype and offset of a tensor; a smaller `shape` than the largest begins at the same offset."""
        largest, dtype = self._tensors[name]
        return largest if shape is None else shape, dtype, self._offsets[name]


class SlotPlan(NamedTuple):
    """Tensors of a frame slot."""

    intermediate: TensorSizes  # on the GPU: outputs of preprocessing and of embed
    thresholds: TensorSizes  # on the GPU and in pinned memory: the detector's scalars
    detections: TensorSizes  # on the GPU and in pinned memory: outputs of detect

    @classmethod
    def of(cls, networks: Mapping[str, NetworkIO]) -> SlotPlan:
        """Return the plan for a bundle's engines, or graphs; raises EngineError for tensors that vary in shape."""
        return cls(
            {**prepared(networks), **fixed_outputs("embed", networks["embed"])},
            dict.fromkeys(THRESHOLDS, ((), _FLOAT)),
            fixed_outputs("detect", networks["detect"]),
        )

    @property
    def device_bytes(self) -> int:
        """Bytes on the GPU, without the frame's."""
        return BlockLayout(self.intermediate).nbytes + self.pinned_bytes

    @property
    def pinned_bytes(self) -> int:
        """Bytes in pinned memory, without the frame's."""
        return BlockLayout(self.thresholds).nbytes + BlockLayout(self.detections).nbytes

    @property
    def embedding_bytes(self) -> int:
        """Bytes of an embedding."""
        return size_of(*self.intermediate["image_embeddings"])


class DecoderPlan(NamedTuple):
    """Tensors of a mask decoder, for its largest batch."""

    largest_batch: int  # prompts
    max_points: int  # of a prompt
    mask_px: int  # side of the logits
    inputs: TensorSizes  # on the GPU, and in pinned memory for ROUNDS batches: those of every call
    masks: TensorSizes  # likewise: masks as prompts; empty for a decoder that takes none
    output_sizes: TensorSizes  # on the GPU

    @classmethod
    def of(cls, network: NetworkIO, largest_point_coords: Shape) -> DecoderPlan:
        """Return the plan for a decoder's engine, or graph, with the largest shape that point_coords may have."""
        largest_batch, max_points = largest_point_coords[:2]
        mask_px = network.outputs["low_res_masks"].shape[-1] or 0
        masks_per_prompt = network.outputs["iou_predictions"].shape[1] or 0
        shapes = _input_shapes(largest_batch, max_points, mask_px)
        sizes = {name: (shape, network.inputs[name].dtype) for name, shape in shapes.items() if name in network.inputs}
        return cls(
            largest_batch,
            max_points,
            mask_px,
            {name: size for name, size in sizes.items() if name not in MASK_TENSORS},
            {name: size for name, size in sizes.items() if name in MASK_TENSORS},
            {
                CONFIDENCE: ((largest_batch, masks_per_prompt), network.outputs[CONFIDENCE].dtype),
                LOGITS: ((largest_batch, masks_per_prompt, mask_px, mask_px), network.outputs[LOGITS].dtype),
            },
        )

    def outputs(self, batch: int) -> BlockLayout:
        """Return the layout of the outputs of a batch of prompts: predicted IoU, then logits."""
        return BlockLayout({name: ((batch, *shape[1:]), dtype) for name, (shape, dtype) in self.output_sizes.items()})

    @property
    def mask_bytes(self) -> int:
        """Bytes of the logits of a prompt."""
        shape, dtype = self.output_sizes[LOGITS]
        return size_of(shape[1:], dtype)

    def input_shapes(self, batch: int, points: int) -> dict[str, Shape]:
        """Return the shapes of the inputs that vary, and of geometry, for a batch of prompts of so many points."""
        return _input_shapes(batch, points, self.mask_px)

    @property
    def device_bytes(self) -> int:
        """Bytes on the GPU."""
        return self.outputs(self.largest_batch).nbytes + self._input_bytes

    @property
    def pinned_input_bytes(self) -> int:
        """Bytes in pinned memory of the inputs."""
        return ROUNDS * self._input_bytes

    @property
    def pinned_output_bytes(self) -> int:
        """Bytes in pinned memory of one set of outputs; there is one for those that are the caller's, and another."""
        head = self.outputs(self.largest_batch).locate(LOGITS, None)[2]
        return head + ROUNDS * sum(size_of(shape, dtype) for shape, dtype in self.output_sizes.values())

    @property
    def _input_bytes(self) -> int:
        return BlockLayout(self.inputs).nbytes + BlockLayout(self.masks).nbytes


class BoxPlan(NamedTuple):
    """Tensors of segment_boxes, for the most boxes and tiles of one call."""

    boxes: int
    tiles: int
    inputs: TensorSizes  # on the GPU, and in pinned memory for ROUNDS batches
    outputs: TensorSizes  # likewise

    @classmethod
    def of(cls, network: NetworkIO, boxes: int, tiles: int) -> BoxPlan:
        """Return the plan for an engine, or graph, that takes so many boxes and tiles at most."""
        shapes = _box_shapes(boxes, tiles)
        inputs, outputs = (
            {name: (shape, specs[name].dtype) for name, shape in shapes.items() if name in specs}
            for specs in (network.inputs, network.outputs)
        )
        return cls(boxes, tiles, inputs, outputs)

    def shapes(self, boxes: int, tiles: int) -> dict[str, Shape]:
        """Return the shapes of the inputs and outputs, but for the embedding, of a batch."""
        return _box_shapes(boxes, tiles)

    @property
    def device_bytes(self) -> int:
        """Bytes on the GPU."""
        return BlockLayout(self.inputs).nbytes + BlockLayout(self.outputs).nbytes

    @property
    def pinned_bytes(self) -> int:
        """Bytes in pinned memory."""
        return ROUNDS * self.device_bytes


def bucket_sizes(smallest: int, largest: int) -> list[int]:
    """Return the numbers of prompts that get a graph, of an engine for `smallest` to `largest`, and these two."""
    return sorted({smallest, largest, *(size for size in BUCKETS if smallest <= size <= largest)})


def frame_bytes(frame_hw: tuple[int, int]) -> int:
    """Return the bytes of a frame."""
    return size_of(frame_shape(frame_hw), np.dtype(np.uint8))


def frame_shape(frame_hw: tuple[int, int]) -> Shape:
    """Return the shape of prepare's input."""
    return (1, *frame_hw, 3)


def prepared(networks: Mapping[str, NetworkIO]) -> TensorSizes:
    """Return the outputs of preprocessing, an engine's or the host's; raises EngineError for those that vary in shape.

    They are the inputs of detector and encoder.
    """
    detect, embed = networks["detect"].inputs, networks["embed"].inputs
    return {
        "images": _fixed("detect", "images", detect["images"]),
        "image": _fixed("embed", "image", embed["image"]),
        "geometry": _fixed("detect", "geometry", detect["geometry"]),
    }


def fixed_outputs(name: str, network: NetworkIO) -> TensorSizes:
    """Return the outputs of a network that have a fixed shape; raises EngineError for others."""
    return {tensor: _fixed(name, tensor, spec) for tensor, spec in network.outputs.items()}


def _fixed(name: str, tensor: str, spec: TensorSpec) -> tuple[Shape, np.dtype]:
    shape = tuple(dim for dim in spec.shape if dim is not None)
    if len(shape) < len(spec.shape):
        raise EngineError(f"{name}: '{tensor}' wants one shape alone, got {spec}; make the bundle anew")
    return shape, spec.dtype


def _box_shapes(boxes: int, tiles: int) -> dict[str, Shape]:
    return {
        "boxes": (boxes, 4),
        "geometry": (8,),
        "tile_prompts": (tiles,),
        "tile_tokens": (tiles, TILE_TOKENS),
        CONFIDENCE: (boxes, 1),
        TILE_LOGITS: (tiles, TILE_TOKENS, BLOCK, BLOCK),
    }


def _input_shapes(batch: int, points: int, mask_px: int) -> dict[str, Shape]:
    return {
        "point_coords": (batch, points, 2),
        "point_labels": (batch, points),
        "geometry": (8,),
        "mask_input": (batch, 1, mask_px, mask_px),
        "has_mask_input": (batch,),
    }
