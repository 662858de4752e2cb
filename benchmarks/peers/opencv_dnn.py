"""OpenCV's cv2.dnn with the same detector in float32 against nanoseg's `detect`: a frame in, boxes out.

The usual recipe: a letterboxed frame through blobFromImage, readNetFromONNX's network, the best class of each box,
and NMSBoxesBatched; nanoseg's network runs in ONNX Runtime, and it prepares the encoder's input beside. The
confidence threshold of each frame lets 100 pairs of box and class through to nanoseg's NMS, which by random weights
are of fewer boxes. `ratio` is of the whole, `ratio_network` of the networks alone, and `ratio_host` of what is done
around them.

`runs` tells of each file of the bundle, and of the embedded one, whether cv2.dnn reads and runs it, with the largest
difference from ONNX Runtime's outputs, or OpenCV's message; only the detector is timed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import nanoseg
from nanoseg.processing.boxes import Boxes
from nanoseg.processing.geometry import LETTERBOX_VALUE, Geometry
from nanoseg.types import Frame
from nanoseg.utils.timing import Stopwatch
from peers.nanosam.way import time_sessions
from peers.settings import Settings
from peers.turns import Side, Stages, compare, medians, ratio, take_turns, totals
from pipeline import Recorder

CANDIDATES = 100  # pairs of box and class above the threshold
HOST = ("preprocess", "postprocess")


class OpenCvDetector:
    """A frame in, boxes out."""

    def __init__(self, path: Path, iou: float) -> None:
        self.net, self.iou = cv2.dnn.readNetFromONNX(str(path)), iou

    def preprocess(self, pixels: np.ndarray, geometry: Geometry) -> np.ndarray:
        """Return the blob (1, 3, S, S) of a BGR frame."""
        height, width = geometry.detector_hw
        left, top = geometry.detector_offset
        side = geometry.detector_px
        resized = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
        borders = (top, side - height - top, left, side - width - left)
        padded = cv2.copyMakeBorder(resized, *borders, cv2.BORDER_CONSTANT, value=(LETTERBOX_VALUE,) * 3)
        return np.asarray(cv2.dnn.blobFromImage(padded, 1 / 255, swapRB=True))

    def network(self, blob: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return boxes (A, 4) xyxy and scores (A, C)."""
        self.net.setInput(blob)
        boxes, scores = self.net.forward(["boxes", "scores"])
        return boxes[0], scores[0]

    def postprocess(self, boxes: np.ndarray, scores: np.ndarray, geometry: Geometry, confidence: float) -> Boxes:
        """Return the boxes of the frame, most confident first."""
        best, classes = scores.max(1), scores.argmax(1)
        wanted = best > confidence
        boxes, best, classes = boxes[wanted], best[wanted], classes[wanted]
        to_frame = geometry.vector()
        boxes = (boxes - to_frame[[2, 3, 2, 3]]) / to_frame[[0, 1, 0, 1]]
        sides = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)
        dnn: Any = cv2.dnn  # its stubs do not take arrays
        kept = np.asarray(dnn.NMSBoxesBatched(sides, best, classes, confidence, self.iou), np.intp)
        return Boxes(geometry.clip(boxes[kept]), best[kept], classes[kept])

    def __call__(self, frame: Frame, geometry: Geometry, confidence: float) -> tuple[Boxes, Stages]:
        """Return the boxes of a frame, and the milliseconds by stage."""
        watch = Stopwatch()
        blob = self.preprocess(frame.image, geometry)
        watch.lap("preprocess")
        boxes, scores = self.network(blob)
        watch.lap("network")
        found = self.postprocess(boxes, scores, geometry, confidence)
        watch.lap("postprocess")
        return found, watch.stop()

    def threshold(self, frame: Frame, geometry: Geometry) -> float:
        """Return the confidence that lets CANDIDATES pairs through."""
        _, scores = self.network(self.preprocess(frame.image, geometry))
        return between(scores)


def between(scores: np.ndarray) -> float:
    """Return a number above which there are CANDIDATES scores."""
    last, next_one = -np.sort(-scores.ravel())[CANDIDATES - 1 : CANDIDATES + 1]
    return float(last + next_one) / 2


def runs(segmenter: nanoseg.Segmenter, frame: Frame) -> dict[str, str]:
    """Return for each graph that the pipeline ran on a frame what cv2.dnn makes of it."""
    pipeline: Any = segmenter.pipeline
    engines = dict(pipeline.engines)
    recorders = {name: Recorder(engine) for name, engine in engines.items()}
    pipeline.engines.update(recorders)
    segmenter(frame)
    segmenter.segment(segmenter.embed(frame), boxes=[[10, 10, 100, 100]])
    pipeline.engines.update(engines)
    found = {}
    for name, recorder in recorders.items():
        if recorder.feeds:
            graph = segmenter.bundle.graphs[name]
            found[graph.file] = run_graph(graph.path, recorder.feeds, engines[name](recorder.feeds))
    return found


def run_graph(path: Path, feeds: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray]) -> str:
    """Return the largest difference of cv2.dnn's outputs, or its message."""
    try:
        net = cv2.dnn.readNetFromONNX(str(path))
        for name, value in feeds.items():
            net.setInput(value, name)
        names = net.getUnconnectedOutLayersNames()
        outputs = dict(zip(names, net.forward(names), strict=True))
    except cv2.error as error:
        return " ".join(str(error).split())
    shared = [(outputs[name], value) for name, value in wanted.items() if name in outputs]
    if not shared or any(found.size != value.size for found, value in shared):
        return f"gives {[f'{name} {np.shape(value)}' for name, value in outputs.items()]}"
    worst = max(float(np.abs(found.ravel() - value.ravel()).max()) for found, value in shared)
    largest = max(float(np.abs(value).max()) for _, value in shared)
    return f"runs; largest difference {worst:.1e} where values reach {largest:.3g}"


def ours(segmenter: nanoseg.Segmenter, frame: Frame, confidence: float, calls: list[float]) -> tuple[Boxes, Stages]:
    """Return the boxes of a frame, and the milliseconds by stage."""
    calls.clear()
    watch = Stopwatch()
    found = segmenter.detect(frame, confidence=confidence)
    watch.lap("all")
    stages = watch.stop()
    network = sum(calls)
    return found, {"network": network, "host": stages["total"] - network, "total": stages["total"]}


def measure(settings: Settings) -> dict[str, Any]:
    """Return medians in milliseconds, and ratios."""
    frames = settings.frames()
    with nanoseg.load(settings.full_size(), "onnxruntime", confidence=0.0) as segmenter:
        bundle = segmenter.bundle
        geometry = Geometry.of(settings.size_wh[::-1], bundle.detector_px, bundle.rescale_px, bundle.encoder_px)
        theirs = OpenCvDetector(settings.detector(), segmenter.iou)
        thresholds = [theirs.threshold(frame, geometry) for frame in frames]
        found = {"runs": runs(segmenter, frames[0])}
        with nanoseg.load("parts", "onnxruntime") as parts:
            found["runs_embedded"] = runs(parts, frames[0])
        calls = time_sessions(segmenter)
        sides: dict[str, Side] = {
            "ours": lambda i: ours(segmenter, frames[i % len(frames)], thresholds[i % len(frames)], calls)[1],
            "opencv": lambda i: theirs(frames[i % len(frames)], geometry, thresholds[i % len(frames)])[1],
        }
        spent = take_turns(sides, settings.rounds)
        host = [sum(stages[name] for name in HOST) for stages in spent["opencv"]]
        return {
            **compare(spent, "ours", "opencv"),
            **ratio(totals(spent["ours"], "network"), totals(spent["opencv"], "network"), "ratio_network"),
            **ratio(totals(spent["ours"], "host"), host, "ratio_host"),
            "ours_stages_ms": medians(spent["ours"]),
            "opencv_stages_ms": medians(spent["opencv"]),
            "objects": len(segmenter.detect(frames[0], confidence=thresholds[0]).xyxy),
            "opencv_objects": len(theirs(frames[0], geometry, thresholds[0])[0].xyxy),
            "opencv_version": cv2.__version__,
            **found,
        }
