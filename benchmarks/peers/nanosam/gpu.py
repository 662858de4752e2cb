"""A frame's objects on a GPU in the way of NanoSAM's predictor, on the pipeline's own engines of detector and encoder.

As in predictor.py, with torch on the GPU where it can compute there, as NanoSAM does.
Each engine is waited for before the next one runs, and the embedding stays on the GPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import cv2
import numpy as np
import torch
from PIL import Image

from nanoseg.backends.cuda.memory import DeviceArray
from nanoseg.processing.geometry import Geometry
from nanoseg.processing.nms import RawDetections, postprocess
from peers.nanosam.predictor import BOX_LABELS, Predictor, letterbox, upscale_mask


class BlockingEngine:
    """An engine that takes arrays and returns when it is done; buffers are allocated once a shape."""

    def __init__(self, gpu: Any, engine: Any, stays: tuple[str, ...] = ()) -> None:
        """Outputs in `stays` are given as arrays on the GPU, overwritten by the next call."""
        self.name, self._gpu, self._engine, self._stays = engine.name, gpu, engine, stays
        self._stream = gpu.stream()
        self._memory = gpu.device_buffer(engine.memory_bytes) if engine.memory_bytes else None
        self._context = engine.context(self._memory)
        self._buffers: dict[tuple[str, tuple[int, ...]], Any] = {}

    def __call__(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        context, gpu, stream = self._context, self._gpu, self._stream
        for name in self._engine.inputs:
            value = feeds[name]
            context.set_shape(name, value.shape)
            if not isinstance(value, DeviceArray):
                pinned, device = self._buffer_pair(name, value.shape)
                pinned.array[...] = value
                gpu.copy(device, pinned, stream)
                value = device
            context.bind(name, value)
        outputs = {name: self._buffer_pair(name, context.shape(name)) for name in self._engine.outputs}
        for name, (_, device) in outputs.items():
            context.bind(name, device)
        context.enqueue(stream)
        for name, (pinned, device) in outputs.items():
            if name not in self._stays:
                gpu.copy(pinned, device, stream)
        stream.synchronize()
        return {name: device if name in self._stays else pinned.array for name, (pinned, device) in outputs.items()}

    def close(self) -> None:
        self._context.close()
        self._stream.close()

    def _buffer_pair(self, name: str, shape: tuple[int, ...]) -> Any:
        key = name, tuple(shape)
        if key not in self._buffers:
            spec = {**self._engine.inputs, **self._engine.outputs}[name]
            pinned = self._gpu.host_buffer(shape, spec.dtype)
            self._buffers[key] = pinned, self._gpu.device_buffer(pinned.nbytes).view(shape, spec.dtype)
        return self._buffers[key]


class GpuPredictor(Predictor):
    """NanoSAM's, whose masks are stretched over the image on `device`."""

    device = "cpu"

    def predict(self, box: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        size_hw, side = (self.image.height, self.image.width), self.size // 4
        feeds = {
            "image_embeddings": self.features,
            "point_coords": (box.reshape(1, 2, 2) * (self.size / max(size_hw))).astype(np.float32),
            "point_labels": BOX_LABELS[None],
            "mask_input": np.zeros((1, 1, side, side), np.float32),
            "has_mask_input": np.zeros(1, np.float32),
        }
        out = self.decoder(feeds)
        logits, iou = (torch.as_tensor(out[name], device=self.device) for name in ("low_res_masks", "iou_predictions"))
        return upscale_mask(logits, size_hw, side), iou

    def mask(self, box: np.ndarray) -> np.ndarray:
        logits, iou = self.predict(box)
        return (logits[0, int(iou[0].argmax())] > 0).cpu().numpy()


class GpuWay:
    """A frame in, the masks of its objects out."""

    def __init__(self, bundle: Any, gpu: Any, engines: Mapping[str, Any], decoder: Any, torch_on_gpu: bool) -> None:
        """`decoder` is the engine of a plain one, as way.py exports it."""
        self.bundle, self._gpu = bundle, gpu
        self._detect = BlockingEngine(gpu, engines["detect"])
        embed = BlockingEngine(gpu, engines["embed"], ("image_embeddings",))
        plain = BlockingEngine(gpu, decoder, ("low_res_masks", "iou_predictions") if torch_on_gpu else ())
        self._predictor = GpuPredictor(embed, plain, bundle.encoder_px)
        self._predictor.device = "cuda" if torch_on_gpu else "cpu"
        self._all = (self._detect, embed, plain)

    def __call__(self, pixels: np.ndarray, confidence: float, iou: float, objects: int) -> list[np.ndarray]:
        """One (H, W) bool an object, `objects` at most."""
        bundle = self.bundle
        geometry = Geometry.of(pixels.shape[:2], bundle.detector_px, bundle.rescale_px, bundle.encoder_px)
        thresholds = {"confidence": np.array(confidence, np.float32), "iou": np.array(iou, np.float32)}
        out = self._detect({"images": letterbox(pixels, geometry), "geometry": geometry.vector(), **thresholds})
        raw = cast(RawDetections, out)
        boxes = postprocess(raw, geometry, confidence=confidence, iou=iou, kind=bundle.nms)
        self._predictor.set_image(Image.fromarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)))
        return [self._predictor.mask(box) for box in boxes.xyxy[:objects]]

    def close(self) -> None:
        self._gpu.synchronize()
        for each in self._all:
            each.close()
