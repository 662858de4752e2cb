"""Classes chosen by name or id."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

import numpy as np

from nanoseg.errors import BundleError, UsageError

Classes = Iterable[str | int]


def class_ids(classes: Classes | None, labels: Sequence[str]) -> np.ndarray | None:
    """Return the ids of classes, (C,) int64 in rising order; None for None.

    Args:
        classes: names as in `labels`, in any case where that is unambiguous, or ids.
        labels: the names of a bundle's classes.

    Raises:
        UsageError: there is none, or no such class.
    """
    if classes is None:
        return None
    if isinstance(classes, (str, int)):
        classes = [classes]
    ids = {_class_id(each, labels) for each in classes}
    if not ids:
        raise UsageError(f"classes: wanted at least one of {_some(labels)}")
    return np.array(sorted(ids), np.int64)


def class_names(class_id: np.ndarray, names: np.ndarray, bundle: object) -> np.ndarray:
    """Return the names of (N,) class ids; raises BundleError, which names the bundle, for an id without one."""
    if len(beyond := class_id[(class_id < 0) | (class_id >= len(names))]):
        raise BundleError(f"{bundle}: the detector found class {beyond[0]}, but has {len(names)} labels")
    return np.asarray(names[class_id])


def _class_id(wanted: str | int, labels: Sequence[str]) -> int:
    text = str(wanted).strip()
    if not isinstance(wanted, str) or text not in labels:
        if text.isascii() and text.isdigit() and len(text) < 10 and int(text) < len(labels):
            return int(text)
        folded = [index for index, label in enumerate(labels) if label.casefold() == text.casefold()]
        if len(folded) == 1:
            return folded[0]
        close = get_close_matches(text.casefold(), [label.casefold() for label in labels], 1)
        hint = ""
        if close:
            hint = f"; did you mean {next(label for label in labels if label.casefold() == close[0])}?"
        raise UsageError(f"classes: no such class: {text}{hint} (wanted {_some(labels)}, or an id below {len(labels)})")
    return list(labels).index(text)


def _some(labels: Sequence[str]) -> str:
    return ", ".join(labels[:12]) + (f" and {len(labels) - 12} more" if len(labels) > 12 else "")
