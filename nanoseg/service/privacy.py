"""What a service with `[redact]` lets out of a frame: a picture with silhouettes covered, and objects to report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from nanoseg.deadline import CARRIED_BOXES, FEWER_PROMPTS
from nanoseg.processing.classes import class_ids
from nanoseg.service.config import ServiceConfig
from nanoseg.sinks.redact import REDACT_CONFIDENCE, Redactor
from nanoseg.types import Detections, Frame

if TYPE_CHECKING:
    from nanoseg.segmenter import Segmenter


def open_privacy(config: ServiceConfig, segmenter: Segmenter) -> Privacy | None:
    """Return what covers the pictures of a segmenter, None without `[redact]`.

    The segmenter, which no frame is in, then finds all that may have to be covered: less confident objects, and more
    of them, than are reported.

    Raises:
        UsageError: its bundle does not have a class that is named.
    """
    if config.redact is None:
        return None
    privacy = Privacy(config, segmenter.bundle.labels, segmenter.confidence)
    segmenter.confidence, segmenter.max_objects = min(segmenter.confidence, REDACT_CONFIDENCE), None
    segmenter.class_ids = None
    return privacy


class Privacy:
    """Covers the pictures of all cameras. True pixels stay in the loop of frames."""

    def __init__(self, config: ServiceConfig, labels: Sequence[str], confidence: float) -> None:
        """Take what is covered and what is reported.

        Args:
            config: with `[redact]`.
            labels: of the bundle.
            confidence: threshold of what is reported.

        Raises:
            UsageError: a class is none of the bundle's.
        """
        assert config.redact is not None
        ids = class_ids(config.redact.classes, labels)
        assert ids is not None
        self._covered, self._mode = ids, config.redact.mode
        self._confidence, self._reported = confidence, class_ids(config.model.classes, labels)
        self._compared = None if self._reported is None else np.union1d(self._reported, ids)
        self._max_objects = config.model.max_objects
        self._redactors: dict[str, Redactor] = {}

    def cover(self, frame: Frame, found: Detections | None, shed: Sequence[str] = ()) -> Frame:
        """Return a frame with new pixels: silhouettes covered, or all of it where it was not looked at completely.

        Args:
            frame: each one of a camera, in order.
            found: all objects from REDACT_CONFIDENCE on; None: the engine failed, or the frame was skipped.
            shed: what a deadline left out.
        """
        if FEWER_PROMPTS in shed or CARRIED_BOXES in shed:
            found = None
        redactor = self._redactors.get(frame.name)
        if redactor is None:
            redactor = self._redactors[frame.name] = Redactor(self._covered, self._mode)
        return redactor.redact(frame, found)

    def reported(self, found: Detections) -> Detections:
        """Return the objects that the configuration asks for."""
        return self._select(found, self._reported, self._max_objects)

    def compared(self, found: Detections) -> Detections:
        """Return the objects that are reported or covered, at which another bundle has to be as good."""
        return self._select(found, self._compared)

    def _select(self, found: Detections, ids: np.ndarray | None, limit: int | None = None) -> Detections:
        wanted = found.confidence > self._confidence
        if ids is not None:
            wanted &= np.isin(found.class_id, ids)
        chosen = np.flatnonzero(wanted)[:limit]
        return replace(
            found,
            xyxy=found.xyxy[chosen],
            confidence=found.confidence[chosen],
            class_id=found.class_id[chosen],
            class_name=found.class_name[chosen],
            mask_confidence=found.mask_confidence[chosen],
            masks=found.masks.select(chosen),
        )
