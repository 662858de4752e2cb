"""The memory that a bundle takes on a GPU, told from its engines' records: nothing is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from nanoseg.backends.engine import TensorSpec
from nanoseg.backends.pipeline import DECODERS
from nanoseg.backends.tensorrt.context import Shape
from nanoseg.backends.tensorrt.pipeline.buffers import Layout, Sides
from nanoseg.bundle.signature import Signature
from nanoseg.engines import EngineRecord

SAME_MEMORY = (("prepare", "detect"), ("embed",), DECODERS)  # contexts that never run at once: see Resources
STREAM_SLOTS = 2  # that Segmenter.stream() takes beside the one of single frames


@dataclass(frozen=True)
class Footprint:
    """Bytes of a pipeline that works on frames of one size, at most: of any number of objects.

    Not among them, as few have any: further sizes of frames, embeddings that embed() gave, room for frames that are not
    aligned on the GPU, and for those that are prepared on the host, as prepare's engine does not take their size. What
    CUDA and the library take for themselves is not known.
    """

    frame_hw: tuple[int, int]
    weights: int  # as large as the engines' files, which hold little else
    activations: int  # that engines compute in, one block a stream
    tensors: int  # what graphs give each other, and the frame
    pinned: int  # of the host, with the answers to masks as prompts; where host and device share memory, it is the same
    stream: int  # of the GPU's, that Segmenter.stream() takes more
    stream_pinned: int

    @property
    def gpu(self) -> int:
        """All of the GPU's that frames one by one take; less by a frame where that is read in pinned memory."""
        return self.weights + self.activations + self.tensors


def footprint(graphs: Mapping[str, Signature], records: Mapping[str, EngineRecord]) -> Footprint | None:
    """Of a bundle whose engines are all there; None where it cannot be told.

    That is where TensorRT did not say how much an engine computes in, or prepare takes one size of frames alone. Frames
    are of the size that prepare's engine was built to be fastest with. It repeats in numbers what Resources, FrameSlot,
    Decoder
    and TrtPipeline allocate.
    """
    needs = {name: records[name].device_memory_bytes for name in graphs}
    if any(need is None for need in needs.values()):
        return None
    profile = records["prepare"].profiles.get("frame")
    if profile is None:  # of one size alone, which the record leaves out
        return None
    frame = profile.opt
    rows = _bytes(graphs["detect"].outputs)
    settings = Layout({name: ((), np.dtype(np.float32)) for name in ("confidence", "iou")}).nbytes
    between = _bytes({**graphs["prepare"].outputs, **graphs["embed"].outputs})
    embedding = _size(graphs["embed"].outputs["image_embeddings"])
    slot, slot_pinned = between + rows + settings + prod(frame), rows + settings + prod(frame)
    decoders = {name: _decoder(graphs[name], records[name]) for name in DECODERS if name in graphs}
    given, fed, answers = (sum(each) for each in zip(*decoders.values(), strict=True))
    return Footprint(
        frame_hw=(frame[1], frame[2]),
        weights=sum(records[name].bytes for name in graphs),
        activations=sum(max(needs.get(name) or 0 for name in names) for names in SAME_MEMORY),
        tensors=slot + embedding + given + fed,
        pinned=slot_pinned + embedding + fed + answers,
        stream=STREAM_SLOTS * slot,
        stream_pinned=STREAM_SLOTS * slot_pinned + decoders["segment"][2],
    )


def _decoder(tensors: Signature, record: EngineRecord) -> tuple[int, int, int]:
    """Bytes of what it gives and of what it is fed, of most prompts; and of the same answer in pinned memory."""
    most, points = _largest("point_coords", tensors, record)[:2]
    given: Sides = {
        name: ((most, *(side or 0 for side in spec.shape[1:])), spec.dtype) for name, spec in tensors.outputs.items()
    }
    side = tensors.outputs["low_res_masks"].shape[-1] or 0
    shapes: dict[str, Shape] = {"point_coords": (most, points, 2), "point_labels": (most, points), "geometry": (8,)}
    masks: dict[str, Shape] = {"mask_input": (most, 1, side, side), "has_mask_input": (most,)}
    fed = 0
    for some in (shapes, masks):
        there = {name: shape for name, shape in some.items() if name in tensors.inputs}
        fed += Layout({name: (shape, tensors.inputs[name].dtype) for name, shape in there.items()}).nbytes
    answer = sum(prod(shape) * np.dtype(np.float32).itemsize for shape, _ in given.values())
    return Layout(given).nbytes, fed, answer


def _largest(name: str, tensors: Signature, record: EngineRecord) -> Shape:
    profile = record.profiles.get(name)
    return tuple(profile.max) if profile else tuple(side or 0 for side in tensors.inputs[name].shape)


def _bytes(outputs: Mapping[str, TensorSpec]) -> int:
    sides: Sides = {name: (tuple(side or 0 for side in spec.shape), spec.dtype) for name, spec in outputs.items()}
    return Layout(sides).nbytes


def _size(spec: TensorSpec) -> int:
    return prod(side or 0 for side in spec.shape) * spec.dtype.itemsize
