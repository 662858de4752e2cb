"""The protocol of what runs all graphs of a bundle, a frame after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from nanoseg.processing.geometry import Geometry
from nanoseg.processing.prompts import Prompts

DECODERS = ("segment", "segment_mask")


@dataclass(frozen=True)
class RawDetections:
    """What detect.onnx gives; arrays are views that the next frame may overwrite."""

    boxes: np.ndarray  # (K, 4) float32 xyxy in pixels of the frame, unclipped
    scores: np.ndarray  # (K,) float32
    class_ids: np.ndarray  # (K,) int32
    count: int  # how many rows NMS kept: the first ones
    unconverged: int  # unless it is 0, the host has to redo NMS on all K rows


class EmbeddingHandle(Protocol):
    """One image as the decoder takes it, wherever the pipeline keeps it."""

    def array(self) -> np.ndarray:
        """(1, 256, g, g) float32 on the host; raises EngineError where a later frame or close() took it away."""


class InFlight(Protocol):
    """A frame on its way."""

    @property
    def geometry(self) -> Geometry: ...


class MaskOutput(NamedTuple):
    """What masks() gives, N prompts, M masks each: 1 or 4, as the bundle was made."""

    logits: np.ndarray  # (N, M, 4g, 4g) float32
    confidence: np.ndarray  # (N, M) float32: the predicted IoU


class Pipeline(Protocol):
    """prepare, detect, embed, segment on one device.

    One frame after the other: start, then what is wanted of rows, embedded and masks, all under one lock of the
    caller's. masks() and what it is given may come from any thread beside that. Every function raises EngineError
    where a graph fails; the next frame is as good as any then.
    """

    backend: str  # one of nanoseg.backends.select.BACKENDS, but not auto
    device: str  # for people
    ahead: bool  # whether a frame may be started before the last one's masks are asked for
    device_frames: bool  # whether frames may lie on a GPU
    masks_a_prompt: Mapping[str, int]  # 1 or 4, by decoder: segment, and segment_mask where the bundle has it

    def start(self, pixels: Any, confidence: float, iou: float, ahead: bool = False) -> InFlight:
        """Begin with a (H, W, 3) uint8 BGR frame, an array or with `device_frames` one of a GPU.

        What it was given is not looked at any more once this is back. The frame started before is at an end, unless
        this one is started `ahead` of its end; then it is the one before that.
        """

    def rows(self, started: InFlight) -> RawDetections:
        """What was found; waits for the detector alone. Valid until the next start."""

    def embedded(self, started: InFlight) -> EmbeddingHandle:
        """The frame's embedding, which may still be under way; valid as long as the frame."""

    def embed(self, pixels: Any) -> tuple[EmbeddingHandle, Geometry]:
        """A frame's embedding without its objects, valid until close()."""

    def masks(
        self,
        name: str,
        embedded: EmbeddingHandle,
        geometry: Geometry,
        prompts: Prompts,
        *,
        own: bool = True,
        arrived: Callable[[], None] | None = None,
    ) -> MaskOutput:
        """Masks of N >= 1 prompts by the decoder `name`, one of `masks_a_prompt`.

        They are the caller's, or without `own` perhaps views, valid until the next call without `own`. `arrived` is
        called when the embedding is there. Raises UsageError for a number of points that the decoder does not take.
        """

    def close(self) -> None:
        """Free all. May be called twice."""


class HostEmbedding:
    """An embedding in an array."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def array(self) -> np.ndarray:
        return self._array


def masks_a_prompt(engines: Mapping[str, Any]) -> dict[str, int]:
    """Of a bundle's engines the decoders, and how many masks each gives a prompt."""
    return {name: engines[name].outputs["iou_predictions"].shape[1] for name in DECODERS if name in engines}
