"""Detect objects with YOLO-NAS and segment them with NanoSAM, in real time, without torch.

    with nanoseg.load("parts") as segmenter:
        found = segmenter(image)            # (H, W, 3) uint8, BGR -> Detections

Importing this package loads no other; its types import numpy on first use, `load` OpenCV and the backend.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nanoseg.processing.classes import Classes
    from nanoseg.processing.geometry import Resize
    from nanoseg.processing.nms import NmsKind
    from nanoseg.segmenter import Segmenter
    from nanoseg.types import Detections, Frame, Prompts

# Since 1.27 ONNX Runtime's Linux packages report usage. It reads this variable when it is imported, which only code of
# this package, or of what it imports, does after this line; its disable_telemetry_events() does not stop all of it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
__all__ = ["Detections", "Frame", "Prompts", "Segmenter", "load"]


def load(
    bundle: str | Path = "parts",
    backend: str = "auto",
    *,
    confidence: float | None = None,
    iou: float | None = None,
    nms: NmsKind | None = None,
    max_objects: int | None = None,
    classes: Classes | None = None,
    resize: Resize = "cv2",
    engines: str | Path | None = None,
) -> Segmenter:
    """Open a bundle on a backend.

    Args:
        bundle: A bundle's name or path.
        backend: One of nanoseg.backends.select.BACKENDS. "auto" takes tensorrt where `nanoseg build` has built all of
            the bundle's engines for this device, else onnxruntime-cuda where ONNX Runtime finds a GPU, else
            onnxruntime. Where built engines cannot be used any more, the logger "nanoseg" warns of that. It never takes
            onnxruntime-tensorrt, which builds its own engines, for minutes, when a bundle first runs.
        confidence: Confidence threshold in [0, 1]; by default the bundle's.
        iou: IoU threshold in [0, 1] of NMS; by default the bundle's.
        nms: "by-class", or "across-classes", where a box is dropped by better ones of any class; by default the
            bundle's. Another kind than the bundle's is done on the host, with the same result on every backend.
        max_objects: Return the most confident objects of a frame, at most this many; by default all.
        classes: Names or ids of the classes to return and segment; by default all.
        resize: How the encoder's input is resized, for comparison with published figures: "cv2", or, with Pillow and
            slower, "pil" as segment-anything does and "nanosam" as NanoSAM does: the input to the bit, the masks of
            prompts to the pixel of the same logits, and for "nanosam" no padding point beside lone points.
        engines: Folder of the engine store; by default $NANOSEG_ENGINES, else engines/ of a checkout, else the user's
            cache.

    Returns:
        A segmenter; it is a context manager, and frees the engines when it is closed.

    Raises:
        UsageError: For an unknown backend, class, `nms` or `resize`, and for a threshold or `max_objects` out of range.
        BundleError: For a bundle that does not exist or is damaged.
        EngineError: If the backend cannot run the bundle on this machine.
        DependencyError: If a library is not installed.
    """
    from nanoseg.backends.select import check_backend, open_pipeline
    from nanoseg.bundle import open_bundle
    from nanoseg.processing.classes import class_ids
    from nanoseg.processing.geometry import check_resize
    from nanoseg.processing.nms import check_nms, check_thresholds
    from nanoseg.segmenter import Segmenter

    # What can be refused without reading files or loading networks is refused first.
    check_backend(backend)
    check_thresholds(confidence, iou, max_objects)
    check_resize(resize)
    if nms is not None:
        check_nms(nms)
    opened = open_bundle(bundle)
    class_ids(classes, opened.labels)
    pipeline = open_pipeline(opened, backend, resize=resize, engines=None if engines is None else Path(engines))
    return Segmenter(
        opened, pipeline, confidence=confidence, iou=iou, nms=nms, max_objects=max_objects, classes=classes
    )


def __getattr__(name: str) -> Any:
    if name == "Segmenter":
        from nanoseg.segmenter import Segmenter

        return Segmenter
    if name in ("Detections", "Frame", "Prompts"):
        from nanoseg import types

        return getattr(types, name)
    raise AttributeError(f"module 'nanoseg' has no attribute {name!r}")
