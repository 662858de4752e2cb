"""What the fake service knows: its cameras, kept embeddings, and what it says of itself."""

from __future__ import annotations

import hashlib
import hmac
import math
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from nanoseg.sources.simulator.line import LABELS
from tests.fakes.service_pictures import FPS, Picture


@dataclass
class Camera:
    """One simulated camera."""

    name: str
    seed: int
    size_wh: tuple[int, int] = (640, 480)
    state: str = "live"
    reason: str = ""
    since: float = field(default_factory=time.monotonic)
    reconnects: int = 0
    started: float = field(default_factory=time.monotonic)
    pictures: list[Picture] = field(default_factory=list)

    @property
    def frames(self) -> int:
        """Frames since the start."""
        return int((time.monotonic() - self.started) * FPS)

    @property
    def latest(self) -> Picture:
        """The present frame."""
        return self.pictures[self.frames % len(self.pictures)]

    def change(self, state: str, reason: str) -> None:
        """Take another state."""
        self.reconnects += self.state == "lost" and state == "live"
        self.state, self.reason, self.since = state, reason, time.monotonic()

    def describe(self) -> dict:
        """Return its part of /state."""
        live = self.state == "live"
        return {
            "name": self.name,
            "state": self.state,
            "reason": self.reason,
            "since_s": round(time.monotonic() - self.since, 1),
            "fps": FPS if live else 0.0,
            "age_ms": 48.2 + 6 * math.sin(time.monotonic()) if live else None,
            "reconnects": self.reconnects,
            "frames": self.frames,
            "dropped": {"newer": self.frames // 40, "damaged": 1},
            "size_wh": None if self.state == "connecting" else list(self.size_wh),
            "description": f"{self.size_wh[0]}x{self.size_wh[1]} H.264 {FPS} fps, RTSP by GStreamer",
        }


class Service:
    """The state that all requests share."""

    def __init__(self, cameras: list[Camera], token: str = "", sign_s: float = 60, regions: list | None = None) -> None:
        self.cameras = {camera.name: camera for camera in cameras}
        self.token, self.sign_s = token, sign_s
        self.regions = regions or []
        self.embeddings: dict[str, Picture] = {}
        self.has_objects = True
        self.busy = 0  # how many of the next prompts are refused
        self.calls: list[str] = []  # of requests
        self.over = threading.Event()
        self._lock = threading.Lock()
        self._made = 0

    def sign(self, path: str, expires: str) -> str:
        """Return the signature of a path and its end."""
        return hmac.new(self.token.encode(), f"{path} {expires}".encode(), hashlib.sha256).hexdigest()[:32]

    def keep(self, picture: Picture) -> str:
        """Keep an embedding; returns its id."""
        with self._lock:
            self._made += 1
            self.embeddings[f"e{self._made}"] = picture
            for old in list(self.embeddings)[:-8]:
                del self.embeddings[old]
            return f"e{self._made}"

    def counts(self, region: dict) -> dict[str, int]:
        """Return the number of each class whose centres are in a region's bounding box."""
        camera = self.cameras[region["source"]]
        corners = np.array(region["polygon"], float)
        if corners.max() <= 1:
            corners *= camera.size_wh
        counts: Counter[str] = Counter()
        for each in camera.latest.objects() if self.has_objects else []:
            box = np.array(each["xyxy"])
            centre = (box[:2] + box[2:]) / 2
            if (corners.min(0) <= centre).all() and (centre <= corners.max(0)).all():
                counts[each["class_name"]] += 1
        return dict(counts)

    def state(self) -> dict:
        """Return /state."""
        now = time.monotonic()
        wave = 1 + 0.08 * math.sin(now / 3) + 0.05 * math.sin(now * 2.1)
        stages = {"prepare": 1.4, "detect": 9.8, "embed": 7.2, "segment": 5.1}
        stages_ms = {
            name: round(value * wave * (1 + 0.06 * math.sin(now * i)), 2)
            for i, (name, value) in enumerate(stages.items(), 1)
        }
        stages_ms["total"] = round(stages_ms["prepare"] + stages_ms["detect"] + stages_ms["segment"] + 0.6, 2)
        return {
            "version": "0.9.0", "bundle": "parts 3", "labels": list(LABELS),
            "backend": "TensorRT 10.3", "device": "Jetson Orin Nano",
            "uptime_s": 93784.0 + now % 1000, "fps": float(FPS * len(self.cameras)), "redacted": True,
            "sources": [camera.describe() for camera in self.cameras.values()],
            "regions": [{**region, "counts": self.counts(region)} for region in self.regions],
            "stages_ms": stages_ms, "age_ms": {"p50": round(46 * wave, 1), "p99": round(71 * wave * wave, 1)},
            "temperatures_c": {"cpu": 51.5, "gpu": 53.2 + wave, "soc": 52.0}, "power_w": round(9.1 * wave, 2),
            "memory_mb": 2310.0, "memory_available_mb": 3412, "throttled": "",
            "swap": {"state": "idle", "reason": "", "bundle": ""},
        }  # fmt: skip

    def record(self, camera: Camera, index: int) -> dict:
        """Return the record of a camera's frame."""
        objects = camera.pictures[index % len(camera.pictures)].objects() if self.has_objects else []
        regions = {each["name"]: self.counts(each) for each in self.regions if each["source"] == camera.name}
        events = []
        if regions and objects and index % 10 == 0:
            event = ("enter", "leave", "dwell")[index // 10 % 3]
            events = [
                {"event": event, "region": next(iter(regions)), "class_name": objects[0]["class_name"], "count": 1}
            ]
            if event == "dwell":
                events[0]["dwell_s"] = 4.2
        return {
            "source": camera.name, "frame": index, "captured_ns": time.time_ns(), "age_ms": 48.0,
            "latency_ms": self.state()["stages_ms"],
            "objects": objects, "regions": regions,
            "events": events, "redacted": True,
        }  # fmt: skip
