"""What `GET /state` answers, and what the page shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nanoseg.service.board import BoardState
from nanoseg.service.regions import Region
from nanoseg.service.result import FrameResult
from nanoseg.sources.camera_status import CameraStatus


def source_document(
    name: str, status: CameraStatus, latest: FrameResult | None, recent: Mapping[str, Any], since_s: float
) -> dict[str, Any]:
    """Return what is shown of a camera.

    Args:
        name: the camera's.
        status: what it did so far.
        latest: its latest result, or None.
        recent: what Recent.read returned.
        since_s: seconds in its present state.
    """
    live = status.state == "live"
    return {
        "name": name,
        "state": status.state,
        "reason": status.reason,
        "since_s": round(since_s, 1),
        "fps": recent["fps_by_source"].get(name, 0.0),
        "camera_fps": None if status.fps is None else round(status.fps, 2),
        "age_ms": recent["age_by_source"].get(name) if live else None,
        "reconnects": status.reconnects,
        "frames": status.frames,
        "dropped": dict(status.dropped),
        "size_wh": None if latest is None else list(reversed(latest.frame.size_hw)),
        "description": status.description,
    }


def regions_document(regions: Sequence[Region]) -> list[dict[str, Any]]:
    """Return what is shown of the regions."""
    return [
        {
            "source": region.config.source,
            "name": region.config.name,
            "polygon": [list(point) for point in region.config.polygon],
            "counts": dict(region.counts),
        }
        for region in regions
    ]


def board_document(board: BoardState) -> dict[str, Any]:
    """Return what is shown of the board."""
    return {
        "temperatures_c": {zone: round(degrees, 1) for zone, degrees in board.temperatures_c.items()},
        "power_w": None if board.total_w is None else round(board.total_w, 2),
        "throttled": board.throttled,
        "memory_available_mb": None if board.available_mb is None else round(board.available_mb),
    }
