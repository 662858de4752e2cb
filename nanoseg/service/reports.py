"""What the service says of itself: the document of `GET /state`, and the gauges of its metrics."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import nanoseg
from nanoseg.service.board import BoardState
from nanoseg.service.board_watch import BoardWatch
from nanoseg.service.loop import ServiceLoop
from nanoseg.service.metrics import Gauges
from nanoseg.service.outputs import Outputs
from nanoseg.service.recent import Recent
from nanoseg.service.regions import Region
from nanoseg.service.running_bundle import RunningBundle
from nanoseg.service.swap.swapper import Swapper
from nanoseg.sources.camera_status import CameraStatus
from nanoseg.utils.memory import resident_mb


class Reports:
    """Reads the parts of a service, in any thread."""

    def __init__(
        self,
        loop: ServiceLoop,
        outputs: Outputs,
        swapper: Swapper,
        recent: Recent,
        board: BoardWatch,
        bundle: RunningBundle,
    ) -> None:
        """Take the parts."""
        self._loop, self._outputs, self._swapper, self._recent = loop, outputs, swapper, recent
        self._board, self._bundle = board, bundle
        self._started_s = time.monotonic()
        self.readers: Mapping[str, int] = {}  # of streams and events

    def state(self, *, redacted: bool) -> dict[str, Any]:
        """Return what `GET /state` answers; `redacted`: whether silhouettes are covered."""
        segmenter, recent = self._loop.segmenter, self._recent.read()
        cameras = self._loop.cameras.status()
        live = {name for name, status in cameras.items() if status.state == "live"}
        return {
            "version": nanoseg.__version__,
            "bundle": self._bundle.running,
            "labels": list(segmenter.bundle.labels),
            "backend": segmenter.backend,
            "device": segmenter.device,
            "uptime_s": round(time.monotonic() - self._started_s, 1),
            "fps": recent["fps"],
            "redacted": redacted,
            "sources": [self._source(name, status, recent) for name, status in cameras.items()],
            "regions": [_region(region, region.config.source in live) for region in self._loop.regions],
            "stages_ms": recent["stages_ms"],
            "age_ms": recent["age_ms"],
            **_board(self._board.state),
            "memory_mb": round(resident_mb(), 1),
            "swap": self._swapper.state.document(),
        }

    def gauges(self, starts: int, trouble: Mapping[str, int], classes: Sequence[str]) -> Gauges:
        """Return what metrics read on demand.

        Args:
            starts: of the service on this machine.
            trouble: lines by kind.
            classes: that may be found.
        """
        segmenter = self._loop.segmenter
        return Gauges(
            cameras=self._loop.cameras.status(),
            board=self._board.state,
            dropped=self._outputs.dropped(),
            readers=dict(self.readers),
            written=self._outputs.written(),
            mqtt=self._outputs.mqtt,
            starts=starts,
            info={
                "version": nanoseg.__version__,
                "bundle": self._bundle.running,
                "backend": segmenter.backend,
                "device": segmenter.device,
            },
            trouble=dict(trouble),
            swaps=dict(self._swapper.outcomes),
            regions=[region.config for region in self._loop.regions],
            classes=classes,
        )

    def _source(self, name: str, status: CameraStatus, recent: Mapping[str, Any]) -> dict[str, Any]:
        latest = self._outputs.pictures.latest(name)
        return {
            "name": name,
            "state": status.state,
            "reason": status.reason,
            "since_s": round(status.since_s, 1),
            "fps": recent["fps_by_source"].get(name, 0.0),
            "camera_fps": None if status.fps is None else round(status.fps, 2),
            "age_ms": recent["age_by_source"].get(name) if status.state == "live" else None,
            "reconnects": status.reconnects,
            "frames": status.frames,
            "dropped": dict(status.dropped),
            "size_wh": None if latest is None else list(reversed(latest.frame.size_hw)),
            "description": status.description,
        }


def _region(region: Region, live: bool) -> dict[str, Any]:
    """Return a region's part; nobody knows what is in one whose camera is away."""
    return {
        "source": region.config.source,
        "name": region.config.name,
        "polygon": [list(point) for point in region.config.polygon],
        "counts": dict(region.counts) if live else {},
    }


def _board(board: BoardState) -> dict[str, Any]:
    return {
        "temperatures_c": {zone: round(degrees, 1) for zone, degrees in board.temperatures_c.items()},
        "power_w": None if board.total_w is None else round(board.total_w, 2),
        "throttled": board.throttled,
        "memory_available_mb": None if board.available_mb is None else round(board.available_mb),
    }
