"""The bundle as the configuration wants it run: loaded, checked, warm, with its thresholds and classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

import nanoseg
from nanoseg.processing.classes import class_ids
from nanoseg.service.config import ModelConfig, ServiceConfig, check_labels

if TYPE_CHECKING:
    from nanoseg.segmenter import Segmenter

_WARM_FRAMES = 2
_WARM_HW = (720, 1280)
_WARM_BOX = (320, 180, 960, 540)


def load_model(config: ServiceConfig, bundle: str) -> Segmenter:
    """Open a bundle, check the classes that the configuration names against it, and warm its engines.

    Raises:
        NanosegError: as `nanoseg.load`; UsageError for a class that the bundle does not have.
    """
    segmenter = nanoseg.load(bundle, config.model.backend, engines=config.model.engines)
    try:
        check_labels(config, segmenter.bundle.labels)
        apply_model(config.model, segmenter)
        picture = np.zeros((*_WARM_HW, 3), np.uint8)
        for _ in range(_WARM_FRAMES):
            segmenter(picture)  # it has no objects, so that the decoder does not run
            segmenter.segment(segmenter.embed(picture), boxes=_WARM_BOX)
    except BaseException:
        segmenter.close()
        raise
    return segmenter


def apply_model(model: ModelConfig, segmenter: Segmenter) -> None:
    """Set the thresholds and classes of a segmenter that no frame is in."""
    bundle = segmenter.bundle
    segmenter.confidence = bundle.confidence if model.confidence is None else model.confidence
    segmenter.iou = bundle.iou if model.iou is None else model.iou
    segmenter.nms = bundle.nms if model.nms is None else model.nms
    segmenter.max_objects = model.max_objects
    segmenter.class_ids = class_ids(model.classes, bundle.labels)


def reported_classes(model: ModelConfig, labels: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the classes that may be found."""
    ids = class_ids(model.classes, labels)
    return tuple(labels) if ids is None else tuple(labels[index] for index in ids)
