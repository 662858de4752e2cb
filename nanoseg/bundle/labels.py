"""Class names: COCO's eighty, and those of --labels."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from nanoseg.bundle.label_files import read_label_file
from nanoseg.errors import UsageError

# In the order of COCO's category ids, which skip eleven numbers; detectors trained on COCO count them 0 to 79.
COCO = (
    *("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light"),
    *("fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow"),
    *("elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee"),
    *("skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard"),
    *("tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple"),
    *("sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch"),
    *("potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard"),
    *("cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors"),
    *("teddy bear", "hair drier", "toothbrush"),
)


def read_labels(text: str) -> tuple[str, ...]:
    """Return class names, without the blanks around them.

    Args:
        text: `coco`, a file with one name a line, JSON or YAML (see `label_files`), or names separated by commas.

    Raises:
        UsageError: the file cannot be read, or there is no name.
    """
    if text.strip().lower() == "coco":
        return COCO
    # os.path, as Path.is_file raises where 80 names are longer than a file name can be.
    if os.path.isfile(text):
        try:
            names = read_label_file(Path(text))
        except UsageError as error:
            raise UsageError(f"--labels: {error}") from error
    elif "," not in text and (os.sep in text or os.path.splitext(text)[1]):
        raise UsageError(f"--labels: {text}: wanted a text file, found none; or give names with commas, or coco")
    else:
        names = text.split(",")
    labels = tuple(name.strip() for name in names if name.strip())
    if not labels:
        raise UsageError(f"--labels: {text}: wanted class names, got none; give a file, names with commas, or coco")
    return labels


def ordered_names(value: object) -> tuple[str, ...] | None:
    """Return class names by class id, or None where the order is unknown.

    Args:
        value: a list of names, or a mapping from 0 to n - 1, as numbers or text, to names. For anything else, such as
            numbers with a gap, the result is None.
    """
    if isinstance(value, Mapping):
        by_number = {int(key): name for key, name in value.items() if str(key).isdecimal()}
        if sorted(by_number) != list(range(len(value))):
            return None
        value = [by_number[number] for number in range(len(value))]
    if not isinstance(value, list | tuple) or not value or not all(isinstance(name, str | int) for name in value):
        return None
    return tuple(map(str, value))
