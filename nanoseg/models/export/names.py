"""Names of a network's classes and keypoints, for the metadata of its ONNX file."""

from __future__ import annotations

import json
from collections.abc import Callable

import msgspec

from nanoseg.bundle.keypoints import (
    METADATA,
    OBJECT,
    OBJECTS,
    keypoint_set_of,
    keypoint_set_to_json,
    numbered,
    read_keypoint_set,
)
from nanoseg.bundle.labels import read_labels
from nanoseg.errors import UsageError
from nanoseg.models.checkpoints.load import Checkpoint
from nanoseg.processing.geometry import Padding

POSE_PADDING = Padding(centred=False, value=127)  # of super-gradients' YOLO-NAS-Pose


def class_names(checkpoint: Checkpoint, labels: str | None, num_classes: int) -> tuple[str, ...] | None:
    """Return the class names of `labels` (see `read_labels`), else the checkpoint's.

    Raises:
        UsageError: Their number is not `num_classes`.
    """
    names = checkpoint.labels if labels is None else read_labels(labels)
    if names is not None and len(names) != num_classes:
        message = f"--labels: wanted {num_classes} names, one per class of {checkpoint.path}, got {len(names)}"
        if labels is None:
            message = f"{checkpoint.path}: names {len(names)} classes, but has {num_classes}; give --labels"
        raise UsageError(message)
    return names


def describe_poses(
    checkpoint: Checkpoint, count: int, keypoints: str | None, labels: str | None, print_note: Callable[[str], None]
) -> dict[str, str]:
    """Return the metadata of a YOLO-NAS-Pose with `count` keypoints: their names, and that of its one class.

    Args:
        checkpoint: The weights, whose file may hold a skeleton.
        count: Number J of keypoints.
        keypoints: See `read_keypoint_set`; None takes the published set of as many keypoints, else numbers.
        labels: The name of the class, see `read_labels`; None takes what the set's keypoints are of.
        print_note: Called with a line about the set that was assumed.

    Raises:
        UsageError: The set has another number of keypoints, or the names are not one.
    """
    name = keypoint_set_of(count) if keypoints is None else keypoints
    chosen = numbered(count) if name is None else read_keypoint_set(name)
    if len(chosen.names) != count:
        wanted = f"{count} names, one a keypoint of {checkpoint.path}"
        raise UsageError(f"--keypoints: wanted {wanted}, got {len(chosen.names)}")
    if keypoints is None:
        assumed = "they have numbers for names, and no sigmas" if name is None else f"assuming those of {name}"
        print_note(f"{checkpoint.path}: does not name its {count} keypoints; {assumed}. Give --keypoints to name them")
    links = checkpoint.skeleton
    if keypoints is None and links is not None and all(max(link) < count for link in links):
        chosen = msgspec.structs.replace(chosen, skeleton=list(links))
    classes = class_names(checkpoint, labels, 1) or (OBJECTS.get(name or "", OBJECT),)
    return {METADATA: keypoint_set_to_json(chosen), "labels": json.dumps(classes, ensure_ascii=False)}
