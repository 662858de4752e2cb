"""The pipeline over engines that take and give arrays: ONNX Runtime's on a CPU; gpu.py has what differs on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nanoseg.backends.engine import Engine
from nanoseg.backends.pipeline import EmbeddingHandle, HostEmbedding, MaskOutput, RawDetections, masks_a_prompt
from nanoseg.backends.prompt_batches import decode
from nanoseg.processing.geometry import Geometry, Resize
from nanoseg.processing.preprocess import Prepared, Preparer
from nanoseg.processing.prompts import Prompts

if TYPE_CHECKING:
    from nanoseg.bundle import Bundle


class _Prepared(NamedTuple):
    """A frame prepared, and what its detection is asked for."""

    inputs: Prepared
    confidence: float
    iou: float

    @property
    def geometry(self) -> Geometry:
        return self.inputs.geometry


class OrtPipeline:
    """The frame is prepared on the host, in the same buffers each time.

    On a CPU graphs run one after the other, as each takes all threads. So each runs when it is asked for, and a frame
    in which nothing was found is not embedded.
    """

    ahead = False
    device_frames = False

    def __init__(
        self, bundle: Bundle, engines: Mapping[str, Engine], resize: Resize = "cv2", backend: str = "onnxruntime"
    ) -> None:
        """`engines` are the bundle's detect, embed and segment, and segment_mask where it has one.

        They are closed with the pipeline. Raises UsageError for another `resize`, DependencyError
        where it wants Pillow.
        """
        self._preparer = Preparer(bundle.detector_px, bundle.rescale_px, bundle.encoder_px, resize)
        self.engines, self.backend, self.device = dict(engines), backend, engines["detect"].device
        self.masks_a_prompt: Mapping[str, int] = masks_a_prompt(engines)

    def start(self, pixels: Any, confidence: float, iou: float, ahead: bool = False) -> _Prepared:
        return _Prepared(self._preparer(pixels), confidence, iou)

    def rows(self, started: Any) -> RawDetections:
        out = self.engines["detect"](
            {
                "images": started.inputs.images,
                "geometry": started.geometry.vector(),
                "confidence": np.array(started.confidence, np.float32),
                "iou": np.array(started.iou, np.float32),
            }
        )
        return RawDetections(out["boxes"], out["scores"], out["class_ids"], int(out["count"]), int(out["unconverged"]))

    def embedded(self, started: Any) -> EmbeddingHandle:
        return self._embed(started.inputs)

    def embed(self, pixels: Any) -> tuple[EmbeddingHandle, Geometry]:
        prepared = self._preparer.encoder_input(pixels)
        return self._embed(prepared), prepared.geometry

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
        if arrived:
            arrived()
        return MaskOutput(*decode(self.engines[name], self._fed(embedded), geometry.vector(), prompts))

    def close(self) -> None:
        for engine in self.engines.values():
            engine.close()

    def _embed(self, prepared: Prepared) -> EmbeddingHandle:
        return HostEmbedding(self.engines["embed"]({"image": prepared.image})["image_embeddings"])

    def _fed(self, embedded: EmbeddingHandle) -> Any:
        """An embedding as the decoders take it."""
        return embedded.array()
