"""What a comparison is told: frames, rounds, objects, and a full-size bundle."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

import nanoseg
from full_size_bundle import LABELS, networks
from nanoseg.bundle import open_bundle
from nanoseg.errors import BundleError
from nanoseg.models.export.yolo_nas import export_yolo_nas
from nanoseg.sources.simulator.line import SimulatedLine
from nanoseg.types import Frame

MAKER = Path(__file__).parents[1] / "full_size_bundle.py"
FRAMES = 4  # different ones, in turn


@dataclass(frozen=True)
class Settings:
    """Of one comparison."""

    size_wh: tuple[int, int]
    rounds: int
    objects: int
    work: Path  # a folder for the networks, which later calls find there
    bundle: str | None = None  # by default a full-size one is made in `work`

    def frames(self) -> list[Frame]:
        """Return different frames of the simulated line."""
        line = SimulatedLine(seed=1, size_wh=self.size_wh)
        return [line.frame(index) for index in range(FRAMES)]

    def full_size(self) -> str:
        """Return the bundle, made unless it is there: a minute or two."""
        if self.bundle:
            return self.bundle
        folder = self.work / "full-size"
        try:
            open_bundle(folder)
        except BundleError:
            self.work.mkdir(parents=True, exist_ok=True)
            subprocess.run([sys.executable, MAKER, "--out", folder], check=True)
        return str(folder)

    def detector(self) -> Path:
        """Return the full-size bundle's detector as it was exported, in float32; made unless it is there."""
        path = self.work / "detector.onnx"
        if not path.exists():
            self.work.mkdir(parents=True, exist_ok=True)
            torch.save(networks()["detector"].state_dict(), self.work / "detector.pt")
            export_yolo_nas(self.work / "detector.pt", path, variant="s", labels=LABELS)
        return path

    def segmenter(self) -> nanoseg.Segmenter:
        """Open the bundle: random weights find nothing, so with confidence 0 the first boxes are the objects."""
        return nanoseg.load(self.full_size(), "onnxruntime", confidence=0.0, max_objects=self.objects)
