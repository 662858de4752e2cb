"""The memory that a bundle takes on a GPU, estimated from its engines' records: nothing is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nanoseg.backends.pipeline import DECODERS
from nanoseg.backends.tensorrt.context import Shape
from nanoseg.backends.tensorrt.pipeline.memory_plan import (
    ACTIVATION_GROUPS,
    STREAM_SLOTS,
    BoxPlan,
    DecoderPlan,
    NetworkIO,
    SlotPlan,
    frame_bytes,
)
from nanoseg.engines import EngineRecord
from nanoseg.errors import EngineError


@dataclass(frozen=True)
class Footprint:
    """Bytes of a pipeline on frames of one size, at most: of any number of objects.

    The activations of prepare are counted as for the largest frame; the pipeline takes those of the frames it gets.
    Left out, as few pipelines have any: further frame sizes, embeddings that embed() returned, buffers for frames that
    are not aligned on the GPU, and for those that the host preprocesses because prepare's engine does not take their
    size; pinned outputs of segment for boxes with more tiles than segment_boxes takes. Unknown is what CUDA and the
    library take for themselves.
    """

    frame_hw: tuple[int, int]
    weights: int  # as large as the engines' files, which hold little else
    activations: int  # one block for each group of engines that never run at once, and prepare's where it is larger
    tensors: int  # inputs and outputs of graphs, and the frame
    pinned: int  # of the host, outputs of all decoders included; the same memory where host and device share it
    stream: int  # further bytes on the GPU for Segmenter.stream()
    stream_pinned: int

    @property
    def gpu(self) -> int:
        """Bytes on the GPU for single frames; less by a frame where frames are read in pinned memory."""
        return self.weights + self.activations + self.tensors


def footprint(graphs: Mapping[str, NetworkIO], records: Mapping[str, EngineRecord]) -> Footprint | None:
    """Estimate the memory of a bundle whose engines are all built.

    Args:
        graphs: Signatures of the bundle's graphs.
        records: Records of their engines.

    Returns:
        The estimate for frames of prepare's optimum size; None where TensorRT did not report an engine's activation
        memory, where prepare takes frames of one size alone, or where the graphs cannot be run.
    """
    activations = {name: records[name].device_memory_bytes for name in graphs}
    profile = records["prepare"].profiles.get("frame")
    # Without a profile it is of one size alone, which the record leaves out.
    if profile is None or any(nbytes is None for nbytes in activations.values()):
        return None
    try:
        slot = SlotPlan.of(graphs)
    except EngineError:
        return None
    decoders = {
        name: DecoderPlan.of(graphs[name], _largest("point_coords", graphs[name], records[name]))
        for name in DECODERS
        if name in graphs
    }
    boxes: list[BoxPlan] = []
    if (graph := graphs.get("segment_boxes")) is not None:
        most = (_largest(name, graph, records["segment_boxes"])[0] for name in ("boxes", "tile_prompts"))
        boxes.append(BoxPlan.of(graph, *most))
    frame_hw = profile.opt[1], profile.opt[2]
    slot_device, slot_pinned = (nbytes + frame_bytes(frame_hw) for nbytes in (slot.device_bytes, slot.pinned_bytes))
    return Footprint(
        frame_hw=frame_hw,
        weights=sum(records[name].bytes for name in graphs),
        activations=sum(_activations(group, activations) for group in ACTIVATION_GROUPS),
        tensors=slot_device
        + slot.embedding_bytes
        + sum(plan.device_bytes for plan in decoders.values())
        + sum(plan.device_bytes for plan in boxes),
        pinned=slot_pinned
        + slot.embedding_bytes
        + sum(plan.pinned_input_bytes + plan.pinned_output_bytes for plan in decoders.values())
        + sum(plan.pinned_bytes for plan in boxes),
        stream=STREAM_SLOTS * slot_device,
        stream_pinned=STREAM_SLOTS * slot_pinned + (0 if boxes else decoders["segment"].pinned_output_bytes),
    )


def _activations(group: tuple[str, ...], nbytes: Mapping[str, int | None]) -> int:
    """Return what engines that share a block take: prepare has its own where it wants more than the others."""
    block = max(nbytes.get(name) or 0 for name in group if name != "prepare")
    frames = nbytes.get("prepare") or 0 if "prepare" in group else 0
    return block + (frames if frames > block else 0)


def _largest(tensor: str, graph: NetworkIO, record: EngineRecord) -> Shape:
    profile = record.profiles.get(tensor)
    return tuple(profile.max) if profile else tuple(dim or 0 for dim in graph.inputs[tensor].shape)
