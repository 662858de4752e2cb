"""Class names: the eighty of COCO, and what `--labels` takes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from nanoseg.errors import UsageError

# In the order of COCO's category ids, which skip eleven numbers: what detectors trained on it count 0..79.
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
    """Class names from `coco`, a file with one a line, or names with commas; blanks around them are dropped.

    Raises UsageError where a file is meant and cannot be read, and where no name is left.
    """
    if text.strip().lower() == "coco":
        return COCO
    # os.path, as Path.is_file fails where 80 names are longer than a file's name may be.
    if os.path.isfile(text):
        names = _lines(Path(text))
    elif "," not in text and (os.sep in text or os.path.splitext(text)[1]):
        raise UsageError(f"--labels: {text}: wanted a text file, found none; or give names with commas, or coco")
    else:
        names = text.split(",")
    labels = tuple(name.strip() for name in names if name.strip())
    if not labels:
        raise UsageError(f"--labels: {text}: wanted class names, got none; give a file, names with commas, or coco")
    return labels


def names_in_order(found: object) -> tuple[str, ...] | None:
    """Class names out of what a file says of them: a list, or a mapping whose keys are 0 to n - 1, as numbers or text.

    None for anything else, such as numbers with a gap: which class is which is then not known.
    """
    if isinstance(found, Mapping):
        by_number = {int(key): name for key, name in found.items() if str(key).isdecimal()}
        if sorted(by_number) != list(range(len(found))):
            return None
        found = [by_number[number] for number in range(len(found))]
    if not isinstance(found, list | tuple) or not found or not all(isinstance(name, str | int) for name in found):
        return None
    return tuple(map(str, found))


def _lines(path: Path) -> list[str]:
    try:
        # utf-8-sig, as editors on Windows begin a file with a mark that is no part of the first name.
        return path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--labels: {path} cannot be read as text: {error}") from error
