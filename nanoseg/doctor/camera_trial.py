"""A trial of one camera or stream: some frames are read, and what they are is told."""

from __future__ import annotations

import time
from dataclasses import dataclass

from nanoseg.errors import SourceError, UsageError
from nanoseg.sources.camera import Camera
from nanoseg.sources.camera_url import parse_camera_url
from nanoseg.sources.source import MAX_PIXELS
from nanoseg.utils.histogram import Histogram
from nanoseg.utils.terminal import print_error, print_json, print_table
from nanoseg.utils.timing import frame_age_ms
from nanoseg.utils.urls import redact_urls

FRAMES = 30
FIRST_S, TRIAL_S = 30.0, 60.0


@dataclass(frozen=True)
class CameraTrial:
    """What the frames of a source are; the names are those of `nanoseg doctor --camera --json`."""

    camera: str
    description: str  # what was negotiated
    width: int
    height: int
    frames: int
    first_frame_s: float  # from the start of opening
    fps: float | None
    clock: str  # what the ages come from: "source", or "arrival" where the source tells no time
    age_ms: dict[str, float]  # from capture to this process: p50, p90, p99, max
    dropped: dict[str, int]  # by reason
    reconnects: int


def try_camera(text: str, frames: int = FRAMES) -> CameraTrial:
    """Read frames of a camera or stream, until there are enough or a minute is over.

    Args:
        text: as `nanoseg run` takes it.
        frames: how many.

    Raises:
        UsageError: it is no camera or stream, or an option is invalid.
        SourceError: no frame came within 30 s.
    """
    url = parse_camera_url(text)
    if url is None:
        raise UsageError(f"--camera {text}: wanted a camera (/dev/video0, csi://0) or a stream (rtsp://...)")
    camera, ages, count, first_s = Camera(url, max_pixels=MAX_PIXELS, on_message=print_error), Histogram(), 0, 0.0
    started_s, size_hw = time.monotonic(), (0, 0)
    camera.start()
    try:
        while count < frames:
            left_s = (FIRST_S if not count else TRIAL_S) - (time.monotonic() - started_s)
            frame = camera.read(left_s) if left_s > 0 else None
            if frame is None:
                break
            ages.add(frame_age_ms(frame.captured_ns, time.time_ns()))
            first_s = first_s or time.monotonic() - started_s
            size_hw, count = frame.size_hw, count + 1
        status = camera.status()
    finally:
        camera.close()
    if not count:
        raise camera.error or SourceError(f"{url.name}: no frame within {FIRST_S:.0f} s: {status.reason}")
    return CameraTrial(
        redact_urls(text),
        redact_urls(status.description),
        size_hw[1],
        size_hw[0],
        count,
        round(first_s, 3),
        None if status.fps is None else round(status.fps, 2),
        status.clock,
        ages.summary(),
        dict(status.dropped),
        status.reconnects,
    )


def print_camera_trial(text: str, as_json: bool = False) -> int:
    """Try a camera and print what its frames are; return the exit code. Errors are those of `try_camera`."""
    trial = try_camera(text)
    if as_json:
        print_json({"camera_trial": vars(trial)})
        return 0
    ages = ", ".join(f"{name} {value:.0f}" for name, value in trial.age_ms.items())
    source = "by the source's own clock" if trial.clock == "source" else "since arrival: the source tells no time"
    rows = [
        ("format", trial.description),
        ("size", f"{trial.width}x{trial.height}"),
        ("frames", f"{trial.frames}, the first after {trial.first_frame_s:.2f} s"),
        ("rate", "not known" if trial.fps is None else f"{trial.fps:.1f} frames/s"),
        ("age", f"{ages} ms, {source}"),
        ("dropped", ", ".join(f"{count} {reason}" for reason, count in trial.dropped.items() if count)),
        ("reconnects", str(trial.reconnects) if trial.reconnects else ""),
    ]
    print_table(f"{trial.camera} works", rows)
    return 0
