"""What a service with `[redact]` lets out of a frame: a picture with silhouettes covered, and objects to report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from nanoseg.processing.classes import class_ids
from nanoseg.service.config import ServiceConfig
from nanoseg.sinks.redact import BORDER_CONFIDENCE, Redactor
from nanoseg.types import Detections, Frame

if TYPE_CHECKING:
    from nanoseg.segmenter import Segmenter


def open_privacy(config: ServiceConfig, segmenter: Segmenter) -> Privacy | None:
    """Return what covers the pictures of a segmenter, None without `[redact]`.

    The segmenter, which no frame is in, then sees all that may have to be covered: less confident boxes, and more of
    them, than are reported, also those that better ones of other classes overlap.

    Raises:
        UsageError: its bundle does not have a class that is named.
    """
    if config.redact is None:
        segmenter.seen_confidence = None
        return None
    privacy = Privacy(config, segmenter.bundle.labels)
    segmenter.seen_confidence, segmenter.nms = BORDER_CONFIDENCE, "by-class"
    segmenter.max_objects, segmenter.class_ids = None, privacy.compared_ids
    return privacy


class Privacy:
    """Covers the pictures of all cameras. True pixels stay in the loop of frames."""

    def __init__(self, config: ServiceConfig, labels: Sequence[str]) -> None:
        """Take what is covered and what is reported.

        Args:
            config: with `[redact]`.
            labels: of the bundle.

        Raises:
            UsageError: a class is none of the bundle's.
        """
        assert config.redact is not None
        ids = class_ids(config.redact.classes, labels)
        assert ids is not None
        self._covered, self._config = ids, config.redact
        self._reported = class_ids(config.model.classes, labels)
        # What is covered is compared, too: a bundle that does not see it is no better for seeing all else.
        self.compared_ids = None if self._reported is None else np.union1d(self._reported, ids)
        self._max_objects = config.model.max_objects
        self._redactors: dict[str, Redactor] = {}

    def cover(self, frame: Frame, found: Detections | None) -> Frame:
        """Return a frame with new pixels: silhouettes covered, or all of it where it was not looked at.

        Args:
            frame: each one of a camera, in order.
            found: with all that was seen; None: the engine failed, or the frame was skipped.
        """
        redactor = self._redactors.get(frame.name)
        if redactor is None:
            mode, trust_empty = self._config.mode, self._config.trust_empty
            redactor = self._redactors[frame.name] = Redactor(self._covered, mode, trust_empty=trust_empty)
        if found is None:
            return redactor.redact(frame, None)
        return redactor.redact(frame, found.seen, found.seen_complete_from)

    def reported(self, found: Detections) -> Detections:
        """Return the objects that the configuration asks for."""
        wanted = np.ones(len(found), np.bool_) if self._reported is None else np.isin(found.class_id, self._reported)
        chosen = np.flatnonzero(wanted)[: self._max_objects]
        return found.select(chosen)
