"""Reference frames of a bundle: a few pictures with the objects that its graphs find in them, in one JSON file.

Engines of another device compute the same numbers a little differently; whether they still give the bundle's answers is
seen by comparing with these. `nanoseg.benchmark.answers` does.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np

from nanoseg.bundle.bundle import Bundle
from nanoseg.errors import BundleError, needs
from nanoseg.evaluation.miou import mask_iou
from nanoseg.processing.boxes import box_iou
from nanoseg.utils.json_text import read_json
from nanoseg.utils.names import encode_json

if TYPE_CHECKING:
    from nanoseg.types import Detections

REFERENCE = "reference.json"
FORMAT = 1
MAX_BYTES = 100_000
MAX_FRAMES, MAX_OBJECTS = 3, 16
_MAX_SIDE_PX, _QUALITY = 480, 80
_NOISE = 2  # levels, either way: less than one camera differs from another
_STABLE_IOU, _STABLE_CONFIDENCE = 0.95, 0.1


class ReferenceObject(msgspec.Struct, forbid_unknown_fields=True):
    """One object that the graphs find."""

    class_id: Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]
    confidence: float
    xyxy: tuple[float, float, float, float]  # pixels
    mask: str  # counts of COCO's run lengths
    stable: bool  # also found, nearly the same, where each pixel is up to two levels brighter or darker


class ReferenceFrame(msgspec.Struct, forbid_unknown_fields=True):
    """A picture and all objects in it, most confident first."""

    jpeg: str  # base64
    size_wh: tuple[int, int]
    objects: list[ReferenceObject]

    def image(self) -> np.ndarray:
        """Return the picture, (H, W, 3) uint8 BGR.

        Raises:
            BundleError: It is no JPEG of that size.
            DependencyError: Without OpenCV.
        """
        with needs("OpenCV", "opencv"):
            import cv2
        try:
            data = np.frombuffer(base64.b64decode(self.jpeg, validate=True), np.uint8)
            image = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
        except (ValueError, cv2.error) as error:
            raise BundleError(f"{REFERENCE}: a picture of it cannot be decoded: {error}") from error
        if image is None or image.shape[1::-1] != self.size_wh:
            raise BundleError(f"{REFERENCE}: a picture of it is no JPEG of {self.size_wh[0]}x{self.size_wh[1]}")
        return np.asarray(image)


class Reference(msgspec.Struct, forbid_unknown_fields=True):
    """The content of reference.json."""

    format: int
    confidence: float  # threshold, the bundle's when it was made
    frames: list[ReferenceFrame]


def read_reference(path: Path) -> Reference:
    """Read reference frames; raises BundleError where they cannot be read or have another format."""
    found: Reference = read_json(path, Reference, error=BundleError)
    if found.format != FORMAT:
        raise BundleError(f"{path}: format: wanted {FORMAT}, got {found.format}; a newer format needs a newer nanoseg")
    return found


def make_reference(bundle: Bundle, images: Sequence[np.ndarray]) -> bytes:
    """Run the graphs of a bundle on images with ONNX Runtime, every number rounded as on a device.

    Args:
        bundle: The bundle.
        images: (H, W, 3) uint8 BGR; large ones are scaled down, and of many those at the front are taken.

    Returns:
        The content of reference.json, at most 100 kB.

    Raises:
        DependencyError: Without OpenCV or ONNX Runtime.
        EngineError: A graph fails.
    """
    from nanoseg.backends.onnxruntime.pipeline import OrtPipeline
    from nanoseg.backends.select import open_engines
    from nanoseg.segmenter import Segmenter

    rounded = any(graph.precision != "fp32" for graph in bundle.graphs.values())
    reference = Reference(FORMAT, bundle.confidence, [])
    engines = open_engines(bundle, "onnxruntime", rounded=rounded)
    with Segmenter(bundle, OrtPipeline(bundle, engines), max_objects=MAX_OBJECTS) as segmenter:
        for index, image in enumerate(images[:MAX_FRAMES]):
            frame = _encode(image)
            pixels = frame.image()
            noise = np.random.default_rng(index).integers(-_NOISE, _NOISE + 1, pixels.shape)
            other = segmenter((pixels + noise).clip(0, 255).astype(np.uint8))
            frame.objects = reference_objects(segmenter(pixels), other)
            reference.frames.append(frame)
            if len(encode_json(reference)) > MAX_BYTES:
                reference.frames.pop()
    return encode_json(reference)


def reference_objects(found: Detections, other: Detections) -> list[ReferenceObject]:
    """Return objects for a reference: stable are those that `other`, of nearly the same picture, has as well."""
    overlap = box_iou(found.xyxy, other.xyxy)
    masks, counts = found.mask, found.masks.rles()
    objects = []
    for index, rle in enumerate(counts):
        same = other.class_id == found.class_id[index]
        same &= np.abs(other.confidence - found.confidence[index]) <= _STABLE_CONFIDENCE
        same &= overlap[index] >= _STABLE_IOU
        near = np.flatnonzero(same)
        stable = any(mask_iou(masks[index], mask, empty=1.0) >= _STABLE_IOU for mask in other.masks.select(near).full())
        box: Any = tuple(round(float(value), 2) for value in found.xyxy[index])
        confidence = round(float(found.confidence[index]), 4)
        objects.append(ReferenceObject(int(found.class_id[index]), confidence, box, rle["counts"], stable))
    return objects


def _encode(image: np.ndarray) -> ReferenceFrame:
    with needs("OpenCV", "opencv"):
        import cv2
    height, width = image.shape[:2]
    scale = min(1.0, _MAX_SIDE_PX / max(height, width))
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return ReferenceFrame(base64.b64encode(data.tobytes()).decode(), image.shape[1::-1], [])
