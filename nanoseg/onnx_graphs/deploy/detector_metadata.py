"""What a detector's metadata says: names of classes and keypoints, and how a frame lies in its input."""

from __future__ import annotations

import ast
import json

from nanoseg.bundle.keypoints import METADATA as KEYPOINTS
from nanoseg.bundle.keypoints import KeypointSet, keypoint_set_from_json, numbered
from nanoseg.bundle.labels import ordered_names
from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.adapt.detector_spec import DetectorSpec
from nanoseg.onnx_graphs.model.contract import SourceNetwork
from nanoseg.processing.geometry import CENTRED, Padding, default_rescale_px

PADDING = "padding"  # key of the metadata


def choose_rescale_px(detector: SourceNetwork, spec: DetectorSpec | None, wanted: int | None) -> tuple[int, str]:
    """Return the frame's longer side in the detector's input, and the reason as text.

    Args:
        detector: the detector, whose metadata may have it.
        spec: its spec, which may have it.
        wanted: the value of --rescale, which takes precedence.
    """
    side, own = detector.dims["S"], detector.metadata.get("rescale_px", "")
    if wanted is not None:
        return wanted, "as --rescale says"
    if spec is not None and spec.input.rescale_px is not None:
        return spec.input.rescale_px, "as --detector-spec says"
    if own.isdecimal():
        return int(own), "as its file says"
    # Only YOLO-NAS leaves a rim of two pixels; a detector with a spec is mostly another one.
    if (spec is None and not detector.is_end2end) or architecture_of(detector).startswith("yolo_nas"):
        return default_rescale_px(side), "as is usual for YOLO-NAS; change it with --rescale PX"
    return side, "all of it; change it with rescale_px in --detector-spec"


def padding_of(detector: SourceNetwork) -> Padding:
    """Return the padding around the frame in a detector's input, as its metadata says, else centred."""
    text = detector.metadata.get(PADDING)
    found = CENTRED if text is None else Padding.parse(text)
    if found is None:
        raise BundleError(f"{detector.path}: {PADDING} in its metadata: wanted such as '{CENTRED}', got {text!r}")
    return found


def keypoints_of(detector: SourceNetwork) -> KeypointSet | None:
    """Return the keypoints of a detector of poses, numbered where its metadata does not name them; None of another.

    Raises:
        BundleError: the metadata names another number of them.
    """
    if (count := detector.dims.get("J")) is None:
        return None
    text, where = detector.metadata.get(KEYPOINTS), str(detector.path)
    found = numbered(count) if text is None else keypoint_set_from_json(text, where)
    if len(found.names) != count:
        raise BundleError(f"{where}: names {len(found.names)} keypoints, but gives {count}; export it anew")
    return found


def metadata_labels(detector: SourceNetwork) -> tuple[str, ...] | None:
    """Return the class names in a detector's metadata, None where there are none.

    nanoseg writes JSON under "labels"; Ultralytics writes a Python dict under "names".
    """
    metadata = detector.metadata
    try:
        names = json.loads(metadata["labels"]) if "labels" in metadata else ast.literal_eval(metadata["names"])
        return ordered_names(names)
    # All that ast.literal_eval documents.
    except (KeyError, TypeError, ValueError, SyntaxError, RecursionError, MemoryError):
        return None


def architecture_of(network: SourceNetwork) -> str:
    """Return the architecture that nanoseg's exporters write; an empty string for another file."""
    return network.metadata.get("architecture", "")
