"""The protocol of a pipeline: it runs all graphs of a bundle, frame after frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

import numpy as np

from nanoseg.processing.embedding import EmbeddingHandle
from nanoseg.processing.geometry import Geometry
from nanoseg.processing.image import Pixels
from nanoseg.processing.nms import RawDetections
from nanoseg.processing.prompts import Prompts

DECODERS = ("segment", "segment_mask")

# Logits (N, M, 4g, 4g) and predicted IoU (N, M), float32, of N prompts; M, masks per prompt, is 1 or 4.
MaskOutput = tuple[np.ndarray, np.ndarray]


class InFlight(Protocol):
    """A frame that a pipeline has started."""

    @property
    def geometry(self) -> Geometry: ...

    @property
    def confidence(self) -> float: ...

    @property
    def iou(self) -> float: ...


InFlightT = TypeVar("InFlightT", bound=InFlight)


class Pipeline(Protocol[InFlightT]):
    """preprocess, detect, embed, segment on one device; generic in the frame that it has in flight.

    One frame after the other: start(), then detections(), embedding() and masks() as far as they are wanted, all under
    one lock of the caller's. masks(), and the embedding it is given, may come from any thread beside that. Every method
    raises EngineError where a graph fails; the next frame is not affected.
    """

    backend: str  # one of nanoseg.backends.select.BACKENDS, but not auto
    device: str  # description of the device for people
    ahead: bool  # whether a frame may be started before the masks of the previous one are decoded
    device_frames: bool  # whether frames may lie on a GPU
    masks_per_prompt: Mapping[str, int]  # 1 or 4, by decoder: segment, and segment_mask where the bundle has it

    def start(self, pixels: Pixels, confidence: float, iou: float, ahead: bool = False) -> InFlightT:
        """Start a frame.

        Args:
            pixels: (H, W, 3) uint8 BGR; not read any more once this returns.
            confidence: Confidence threshold of the detector.
            iou: IoU threshold of its NMS.
            ahead: Start it while the frame before is in flight, which stays valid until the one after this is started.
                Otherwise starting a frame ends the one before.
        """

    def detections(self, frame: InFlightT) -> RawDetections:
        """Wait for the detector alone and return its outputs, valid until the next start()."""

    def embedding(self, frame: InFlightT) -> np.ndarray | EmbeddingHandle:
        """Return the frame's embedding, which may still be in flight; valid as long as the frame."""

    def embed(self, pixels: Pixels) -> tuple[np.ndarray | EmbeddingHandle, Geometry]:
        """Return the embedding of a frame without detecting its objects, valid until close()."""

    def masks(
        self,
        name: str,
        embedding: np.ndarray | EmbeddingHandle,
        geometry: Geometry,
        prompts: Prompts,
        *,
        own: bool = True,
        on_embedded: Callable[[], None] | None = None,
    ) -> MaskOutput:
        """Decode the masks of N >= 1 prompts.

        Args:
            name: The decoder, one of `masks_per_prompt`.
            embedding: An embedding of this pipeline, of another one, or an array of the host.
            geometry: Geometry of the embedding's frame.
            prompts: Prompts in pixels of that frame.
            own: Whether the caller owns the logits. Otherwise they may be views, valid until the next call with
                `own=False`.
            on_embedded: Called when the embedding is complete.

        Returns:
            Logits and predicted IoU; see MaskOutput.

        Raises:
            UsageError: For a number of points that the decoder does not take.
        """

    def box_masks(
        self,
        embedding: np.ndarray | EmbeddingHandle,
        geometry: Geometry,
        boxes: np.ndarray,
        *,
        own: bool = True,
        on_embedded: Callable[[], None] | None = None,
    ) -> MaskOutput:
        """Decode the best mask of each of N >= 1 boxes, which is to be limited to it as `Masks` does.

        Beyond these limits the logits may be NOT_COMPUTED, as a bundle with segment_boxes leaves out what is there.

        Args:
            embedding: As masks() takes it.
            geometry: Geometry of the embedding's frame.
            boxes: (N, 4) float32, xyxy in pixels of that frame.
            own: As masks() takes it.
            on_embedded: Called when the embedding is complete.

        Returns:
            Logits and predicted IoU; see MaskOutput.
        """

    def close(self) -> None:
        """Free all resources. May be called twice."""


AnyPipeline = Pipeline[Any]  # of any type of frames in flight


def masks_per_prompt(engines: Mapping[str, Any]) -> dict[str, int]:
    """Return the number of masks per prompt of each decoder among a bundle's engines."""
    return {name: engines[name].outputs["iou_predictions"].shape[1] for name in DECODERS if name in engines}
