"""The pipeline on ONNX Runtime's CPU provider; gpu.py has what differs on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from nanoseg.backends.engine import Engine
from nanoseg.backends.onnxruntime.without_nms import CANDIDATES
from nanoseg.backends.pipeline import MaskOutput, masks_per_prompt
from nanoseg.backends.prompt_batches import decode, decode_boxes
from nanoseg.processing.embedding import EmbeddingHandle, on_host
from nanoseg.processing.geometry import Geometry, Resize
from nanoseg.processing.image import Pixels
from nanoseg.processing.nms import RawDetections, from_candidates
from nanoseg.processing.preprocess import Preprocessed, Preprocessor
from nanoseg.processing.prompts import Prompts

if TYPE_CHECKING:
    from nanoseg.bundle import Bundle


class OrtPipeline:
    """Engines that take and return arrays; frames are preprocessed on the host, in the same buffers each time.

    On a CPU graphs run one after the other, as each takes all threads. So each runs when its output is needed, and a
    frame without detections is not embedded.
    """

    ahead = False
    device_frames = False

    def __init__(
        self, bundle: Bundle, engines: Mapping[str, Engine], resize: Resize = "cv2", backend: str = "onnxruntime"
    ) -> None:
        """Run the graphs of a bundle.

        Args:
            bundle: The bundle, for the sizes of its networks' inputs.
            engines: Its detect, embed and segment, and its optional graphs; closed with the pipeline.
            resize: How the encoder's input is resized.
            backend: Name of the backend.

        Raises:
            UsageError: For an unknown `resize`.
            DependencyError: Where it needs Pillow, which is not installed.
        """
        self._bundle = bundle
        sizes_px = bundle.detector_px, bundle.rescale_px, bundle.encoder_px
        self._preprocess = Preprocessor(*sizes_px, resize, bundle.padding)
        self.engines, self.backend, self.device = dict(engines), backend, engines["detect"].device
        self.masks_per_prompt: Mapping[str, int] = masks_per_prompt(engines)

    def start(self, pixels: Pixels, confidence: float, iou: float, ahead: bool = False) -> Preprocessed:
        return self._preprocess(cast(np.ndarray, pixels), confidence, iou)

    def detections(self, frame: Preprocessed) -> RawDetections:
        outputs = self.engines["detect"](
            {
                "images": frame.images,
                "geometry": frame.geometry.vector(),
                "confidence": np.array(frame.confidence, np.float32),
                "iou": np.array(frame.iou, np.float32),
            }
        )
        if "count" in outputs:
            return cast(RawDetections, outputs)
        return from_candidates(
            outputs[CANDIDATES],
            frame.geometry,
            confidence=frame.confidence,
            iou=frame.iou,
            max_detections=self._bundle.max_detections,
            kind=self._bundle.nms,
        )

    def embedding(self, frame: Preprocessed) -> np.ndarray | EmbeddingHandle:
        return self._embed(frame.image)

    def embed(self, pixels: Pixels) -> tuple[np.ndarray | EmbeddingHandle, Geometry]:
        frame = self._preprocess.encoder_input(cast(np.ndarray, pixels))
        return self._embed(frame.image), frame.geometry

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
        if on_embedded is not None:
            on_embedded()
        return decode(self.engines[name], self._decoder_input(embedding), geometry.vector(), prompts)

    def box_masks(
        self,
        embedding: np.ndarray | EmbeddingHandle,
        geometry: Geometry,
        boxes: np.ndarray,
        *,
        own: bool = True,
        on_embedded: Callable[[], None] | None = None,
    ) -> MaskOutput:
        if "segment_boxes" not in self.engines:
            prompts = Prompts.from_detections(boxes)
            return self.masks("segment", embedding, geometry, prompts, own=own, on_embedded=on_embedded)
        if on_embedded is not None:
            on_embedded()
        return decode_boxes(self.engines["segment_boxes"], self._decoder_input(embedding), geometry, boxes)

    def close(self) -> None:
        for engine in self.engines.values():
            engine.close()

    def _embed(self, image: np.ndarray) -> np.ndarray | EmbeddingHandle:
        return self.engines["embed"]({"image": image})["image_embeddings"]

    def _decoder_input(self, embedding: np.ndarray | EmbeddingHandle) -> Any:
        """Return an embedding as the decoders' engine takes it."""
        return on_host(embedding)
