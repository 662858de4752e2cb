"""The options of `nanoseg run`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nanoseg.processing.nms import NmsKind
from nanoseg.sources.source import MAX_PIXELS
from nanoseg.tracking.tracker import TrackerName


@dataclass(frozen=True)
class RunOptions:
    """Options of `nanoseg run`."""

    sources: Sequence[str]
    bundle: str = "parts"
    out: Path | None = None  # a folder, or one image or video
    results: str | None = None  # a file, a folder for YOLO's labels, or - for stdout
    show: bool = False
    limit: int | None = None
    confidence: float | None = None
    iou: float | None = None
    nms: NmsKind | None = None  # else the bundle's
    max_objects: int | None = None
    max_pixels: int = MAX_PIXELS
    json: bool = False
    backend: str = "auto"
    engines: Path | None = None  # folder of built engines
    classes: Sequence[str] | None = None  # names or ids
    labels: bool = True  # what is drawn
    boxes: bool = True
    masks: bool = True
    live: bool = False  # any source is read at its own pace, as a camera
    rotate: str | None = None  # how much of a live source goes into one file
    deadline_ms: float | None = None  # from a live frame's capture to its masks
    track: TrackerName | None = None  # identities over frames
    detect_every: int = 1  # one of so many frames, with `track`
