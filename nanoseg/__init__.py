"""Find objects with YOLO-NAS and cut them out with NanoSAM, in real time, without torch.

    with nanoseg.load("parts") as segmenter:
        found = segmenter(image)            # (H, W, 3) uint8, BGR -> Detections

Importing this package loads numpy and nothing heavier; OpenCV and the backend come with `load`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanoseg.types import Detections, Frame, Prompts

if TYPE_CHECKING:
    from nanoseg.processing.geometry import Resize
    from nanoseg.segmenter import Segmenter

__version__ = "0.1.0"
__all__ = ["Detections", "Frame", "Prompts", "Segmenter", "load"]


def load(
    bundle: str | Path = "parts",
    backend: str = "auto",
    *,
    confidence: float | None = None,
    iou: float | None = None,
    max_objects: int | None = None,
    resize: Resize = "cv2",
    engines: str | Path | None = None,
) -> Segmenter:
    """Open a bundle, by name or path, on a backend, one of nanoseg.backends.select.BACKENDS.

    auto takes TensorRT where `nanoseg build` has built all of the bundle's engines for this device, else ONNX Runtime:
    onnxruntime-cuda where that finds a GPU, else onnxruntime. Where engines were built and cannot be used any more, the
    logger "nanoseg" warns of that. onnxruntime-tensorrt, which has ONNX Runtime build
    engines of its own, for minutes when a bundle first runs, is only taken where it is asked for.
    `engines` is the folder they lie in, where that is not the usual one.

    `confidence` and `iou` in [0, 1] take the place of the bundle's own thresholds; `max_objects` keeps
    the most confident ones. `resize` is how the encoder's input is made, for comparison with published figures:
    "pil" as segment-anything makes it, "nanosam" as NanoSAM does, both bit for bit, with Pillow and slower.
    Raises UsageError, BundleError, EngineError or DependencyError.
    """
    from nanoseg.segmenter import open_segmenter

    return open_segmenter(
        bundle, backend, confidence=confidence, iou=iou, max_objects=max_objects, resize=resize, engines=engines
    )


def __getattr__(name: str) -> Any:
    # Segmenter needs OpenCV: it is imported when somebody asks for it.
    if name == "Segmenter":
        from nanoseg.segmenter import Segmenter

        return Segmenter
    raise AttributeError(f"module 'nanoseg' has no attribute {name!r}")
