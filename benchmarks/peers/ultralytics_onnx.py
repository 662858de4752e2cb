"""Ultralytics' own pipeline of an ONNX file against nanoseg's: a frame in, boxes and masks of the frame's size out.

YOLO11s-seg with random weights, exported and run by Ultralytics' `predict` on ONNX Runtime, against nanoseg with
YOLO-NAS S, a ResNet18 encoder at 1024 px and SAM's decoder. These are different networks that do different work, so
`ratio`, of whole frames, says which is dearer and nothing of the code around them; `ratio_host` compares what each
does outside of its ONNX Runtime calls: preprocessing, NMS, masks in pixels of the frame, and overhead. Ultralytics'
masks are those of retina_masks; without it, `default_host_ms`, they stay at the network's size. `share` is that part
of a frame.

Random weights say nothing of quality, and find nothing by themselves: of each frame the confidence threshold is set
so that NMS gets 100 candidates, and the first --objects boxes that it keeps are the objects, on both sides.
Ultralytics drops objects whose mask is empty, so biases of its mask head are set to fill them. Threads are as each
sets them.
"""

from __future__ import annotations

import os
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

import nanoseg
from nanoseg.errors import NanosegError
from nanoseg.types import Frame
from peers.nanosam.way import TimedSession, ours, time_sessions
from peers.opencv_dnn import between
from peers.settings import Settings
from peers.turns import Side, Stages, compare, medians, ratio, take_turns, totals

NAME = "yolo11s-seg"
CLASSES = 80


class Recorded:
    """A session that keeps its last outputs."""

    def __init__(self, session: Any) -> None:
        self.session = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self.session, name)

    def run(self, *args: Any) -> Any:
        """As the session's."""
        self.outputs = self.session.run(*args)
        return self.outputs


class Ultralytics:
    """A frame in, the results of Ultralytics' model out."""

    def __init__(self, model: Any, objects: int) -> None:
        self.model, self.objects, self.calls = model, objects, list[float]()

    def __call__(self, frame: Frame, confidence: float, frame_masks: bool = True) -> tuple[Any, Stages]:
        """Return the results of a frame, and its milliseconds."""
        self.calls.clear()
        started = time.perf_counter()
        flags = {"conf": confidence, "max_det": self.objects, "retina_masks": frame_masks, "verbose": False}
        (results,) = self.model.predict(frame.image, **flags)
        total = (time.perf_counter() - started) * 1e3
        network = sum(self.calls)
        return results, {**results.speed, "network": network, "host": total - network, "total": total}

    def thresholds(self, frames: list[Frame]) -> list[float]:
        """Return for each frame the confidence that lets 100 boxes through; sessions are timed from then on."""
        self(frames[0], 0.99)
        backend = self.model.predictor.model.backend
        session, recorded = backend.session, Recorded(backend.session)
        backend.session, found = recorded, []
        for frame in frames:
            self(frame, 0.99)
            found.append(between(np.asarray(recorded.outputs[0])[0, 4 : 4 + CLASSES].max(0)))
        backend.session = TimedSession(session, self.calls)
        return found


def exported(folder: Path, frames: list[Frame]) -> Any:
    """Return Ultralytics' model of an ONNX file with random weights, exported unless it is there."""
    # It asks the network for updates, fonts and settings, and installs packages, unless it is told not to.
    os.environ |= {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_CONFIG_DIR": str(folder.absolute())}
    from ultralytics import YOLO

    path = folder / f"{NAME}.onnx"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        model = YOLO(f"{NAME}.yaml")
        normalize(model.model, frames)
        fill_masks(model.model.model[-1])
        shutil.move(model.export(format="onnx", imgsz=640), path)  # written in the folder where this was called
    return YOLO(str(path), task="segment")


def normalize(network: Any, frames: list[Frame]) -> None:
    """Take batch normalisation's statistics from frames: as initialised, all boxes' scores would be the same."""
    for each in network.modules():
        if isinstance(each, torch.nn.BatchNorm2d):
            each.momentum = 1.0
    images = [frame.image for frame in frames]
    with torch.no_grad():
        network.train()(torch.from_numpy(cv2.dnn.blobFromImages(images, 1 / 255, (640, 640), swapRB=True)))
    network.eval()


def fill_masks(head: Any) -> None:
    """Set biases of a Segment head so that all masks fill their boxes; random ones are empty, and dropped."""
    with torch.no_grad():
        head.proto.cv3.bn.bias.fill_(1.0)
        for branch in head.cv4:
            branch[-1].bias.fill_(1.0)


def our_threshold(segmenter: nanoseg.Segmenter, frame: Frame) -> float:
    """Return the confidence that lets 100 candidates through."""
    engine: Any = segmenter.pipeline.engines["detect"]  # type: ignore[attr-defined]
    session, recorded = engine._session, Recorded(engine._session)
    engine._session = recorded
    segmenter.detect(frame)
    engine._session = session
    (candidates,) = (out for out in recorded.outputs if out.ndim == 2 and out.shape[1] == 6)
    return between(candidates[:, 4])


def measure(settings: Settings) -> dict[str, Any]:
    """Return medians in milliseconds, and ratios."""
    frames = settings.frames()
    theirs = Ultralytics(exported(settings.work, frames), settings.objects)
    their_thresholds = theirs.thresholds(frames)
    with settings.segmenter() as segmenter:
        our_thresholds = [our_threshold(segmenter, frame) for frame in frames]
        calls, objects = time_sessions(segmenter), dict[str, list[int]](ours=[], ultralytics=[])

        def our_turn(index: int) -> Stages:
            segmenter.confidence = our_thresholds[index % len(frames)]
            found, stages = ours(segmenter, frames[index % len(frames)], calls)
            objects["ours"].append(len(found))
            return {**stages, "host": stages["total"] - sum(calls)}

        def their_turn(index: int, frame_masks: bool = True) -> Stages:
            at = index % len(frames)
            results, stages = theirs(frames[at], their_thresholds[at], frame_masks)
            objects["ultralytics"].append(len(results))
            return stages

        sides: dict[str, Side] = {
            "ours": our_turn,
            "ultralytics": their_turn,
            "default": lambda index: their_turn(index, frame_masks=False),
        }
        spent = take_turns(sides, settings.rounds)
    counts = {name: statistics.median(found) for name, found in objects.items()}
    if set(counts.values()) != {settings.objects}:
        raise NanosegError(f"wanted {settings.objects} objects of both, got {counts}")
    middle = {name: medians(stages) for name, stages in spent.items()}
    return {
        **compare(spent, "ours", "ultralytics"),
        **ratio(totals(spent["ours"], "host"), totals(spent["ultralytics"], "host"), "ratio_host"),
        "ours_host_ms": middle["ours"]["host"],
        "ultralytics_host_ms": middle["ultralytics"]["host"],
        "default_host_ms": middle["default"]["host"],
        "ours_share": round(middle["ours"]["host"] / middle["ours"]["total"], 3),
        "ultralytics_share": round(middle["ultralytics"]["host"] / middle["ultralytics"]["total"], 3),
        "ultralytics_stages_ms": middle["ultralytics"],
        "ours_stages_ms": middle["ours"],
        "objects": settings.objects,
        "network": NAME,
        "threads_of_torch": torch.get_num_threads(),
    }
