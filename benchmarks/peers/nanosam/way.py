"""The pipeline on the CPU against the way of NanoSAM's own predictor, on full-size networks.

Both find the same boxes with the same detector and embed the frame with the same encoder, each in the same session of
ONNX Runtime, and cut every object out of the frame: the pipeline each mask in its region; NanoSAM's way as in
predictor.py, with segment-anything's decoder exported plainly. The pipeline's bare network calls are timed, too.

`own_ms` is the pipeline's time outside of its sessions, within the calls of `pipeline_ms`; a busy machine changes it
less than `overhead`. `masks_iou` is the mean IoU of both ways' masks, near 1 but for their different resizing; it means
something only for a bundle of benchmarks/full_size_bundle.py, whose decoder's weights are the plain one's.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import torch
from PIL import Image

import nanoseg
from full_size_bundle import networks
from nanoseg.backends.onnxruntime.engine import OrtEngine
from nanoseg.backends.onnxruntime.session import available_cpus
from nanoseg.models.export.to_onnx import export_onnx
from nanoseg.models.mask_decoder import MaskDecoder
from nanoseg.processing.geometry import Geometry
from nanoseg.processing.nms import RawDetections, from_candidates, postprocess
from nanoseg.types import Detections, Frame
from nanoseg.utils.timing import Stopwatch
from peers.nanosam.predictor import BOX_LABELS, Predictor, letterbox
from peers.settings import Settings
from peers.turns import Side, Stages, compare, medians, take_turns, timed
from pipeline import bare_calls, crops
from plain_decoder import PlainDecoder

# At most this part of the time of NanoSAM's way, and so much more than the bare calls.
TARGET, OVERHEAD_TARGET = 0.75, 0.05


class NanosamWay:
    """A frame in, the masks of its objects out."""

    def __init__(self, segmenter: nanoseg.Segmenter, decoder: OrtEngine) -> None:
        """`segmenter` gives its detector, its encoder and its settings; `decoder` is a plain one."""
        engines: Any = segmenter.pipeline.engines  # type: ignore[attr-defined]
        self.segmenter, self.detector = segmenter, engines["detect"]
        self.predictor = Predictor(engines["embed"], decoder, segmenter.bundle.encoder_px)

    def __call__(self, frame: Frame) -> tuple[list[np.ndarray], Stages]:
        """One (H, W) bool an object, and the milliseconds by stage."""
        watch, pixels, settings = Stopwatch(), frame.image, self.segmenter
        bundle = settings.bundle
        geometry = Geometry.of(pixels.shape[:2], bundle.detector_px, bundle.rescale_px, bundle.encoder_px)
        confidence, iou = (np.array(value, np.float32) for value in (settings.confidence, settings.iou))
        feeds = {"images": letterbox(pixels, geometry), "geometry": geometry.vector()}
        out = self.detector({**feeds, "confidence": confidence, "iou": iou})
        limits: dict[str, Any] = {"confidence": settings.confidence, "iou": settings.iou, "kind": bundle.nms}
        if "count" in out:
            raw = cast(RawDetections, out)
        else:  # on a CPU the graph stops before NMS
            raw = from_candidates(out["candidates"], geometry, **limits, max_detections=bundle.max_detections)
        boxes = postprocess(raw, geometry, **limits)
        watch.lap("detect")
        self.predictor.set_image(Image.fromarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)))
        watch.lap("embed")
        masks = [self.predictor.mask(box) for box in boxes.xyxy[: settings.max_objects]]
        watch.lap("segment")
        return masks, watch.stop()


class TimedSession:
    """A session that adds up the milliseconds of its calls."""

    def __init__(self, session: Any, spent: list[float]) -> None:
        self._session, self._spent = session, spent

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(self, *args: Any) -> Any:
        """As the session's."""
        started = time.perf_counter()
        out = self._session.run(*args)
        self._spent.append((time.perf_counter() - started) * 1e3)
        return out


def time_sessions(segmenter: nanoseg.Segmenter) -> list[float]:
    """Let the sessions of a pipeline write the milliseconds of each of their calls; return where."""
    spent: list[float] = []
    engines: Any = segmenter.pipeline.engines  # type: ignore[attr-defined]
    for engine in engines.values():
        engine._session = TimedSession(engine._session, spent)
    return spent


def plain_decoder(path: Path, encoder_px: int) -> OrtEngine:
    """The full-size bundle's decoder as NanoSAM has it: one prompt a call, all inputs, all four masks."""
    decoder = MaskDecoder(encoder_px)
    decoder.load_state_dict(networks()["decoder"].state_dict())
    grid = encoder_px // 16
    args = {
        "image_embeddings": torch.randn(1, 256, grid, grid),
        "point_coords": torch.rand(1, 2, 2) * encoder_px,
        "point_labels": torch.from_numpy(BOX_LABELS[None]),
        "mask_input": torch.zeros(1, 1, 4 * grid, 4 * grid),
        "has_mask_input": torch.zeros(1),
    }
    export_onnx(PlainDecoder(decoder), args, path, ["low_res_masks", "iou_predictions"])
    return OrtEngine(path)


def kept_plain_decoder(folder: Path, encoder_px: int) -> OrtEngine:
    """As `plain_decoder`, of a file that an earlier call left in the folder."""
    path = folder / f"plain-decoder-{encoder_px}.onnx"
    return OrtEngine(path) if path.exists() else plain_decoder(path, encoder_px)


def ours(segmenter: nanoseg.Segmenter, frame: Frame, calls: list[float]) -> tuple[Detections, Stages]:
    """A frame in, the masks of its objects out: the pipeline's way, and its milliseconds by stage.

    `calls` is where its sessions write theirs; the pipeline's own time is what is left.
    """
    calls.clear()
    watch = Stopwatch()
    found = segmenter(frame)
    watch.lap("pipeline")
    crops(found)
    watch.lap("masks")
    stages = watch.stop()
    return found, {**found.latency_ms, **stages, "own": stages["pipeline"] - sum(calls)}


def agreement(found: Detections, theirs: list[np.ndarray]) -> float:
    """Mean IoU of the masks of both ways, where ours may be."""
    ious = []
    for index, whole in enumerate(theirs):
        left, top, crop = found.masks.crop(index)
        part = whole[top : top + crop.shape[0], left : left + crop.shape[1]]
        ious.append((part & crop).sum() / max(1, (part | crop).sum()))
    return float(np.mean(ious))


def measure(settings: Settings) -> dict[str, Any]:
    """Return the medians in milliseconds, and their ratios."""
    torch.set_num_threads(available_cpus())  # as many as ONNX Runtime has
    frames = settings.frames()
    with settings.segmenter() as segmenter:
        decoder = kept_plain_decoder(settings.work, segmenter.bundle.encoder_px)
        way = NanosamWay(segmenter, decoder)
        bare = [bare_calls(segmenter, frame) for frame in frames]
        in_calls = time_sessions(segmenter)
        sides: dict[str, Side] = {
            "ours": lambda index: ours(segmenter, frames[index % len(frames)], in_calls)[1],
            "bare": timed(lambda index: bare[index % len(bare)]()),
            "nanosam": lambda index: way(frames[index % len(frames)])[1],
        }
        spent = take_turns(sides, settings.rounds)
        agreements, objects = [], []
        for frame in frames:
            found, theirs = segmenter(frame), way(frame)[0]
            objects.append(len(found))
            agreements.append(agreement(found, theirs))
        decoder.close()
        ours_ms, bare_ms, theirs_ms = (medians(spent[name]) for name in ("ours", "bare", "nanosam"))
        return {
            **compare(spent, "ours", "nanosam"),
            "target": TARGET,
            "pipeline_ms": ours_ms["pipeline"],
            "bare_ms": bare_ms["total"],
            "overhead": round(ours_ms["pipeline"] / bare_ms["total"] - 1, 4),
            "overhead_target": OVERHEAD_TARGET,
            "own_ms": ours_ms["own"],
            "ours_stages_ms": {name: ours_ms[name] for name in ("prepare", "detect", "embed", "segment", "masks")},
            "nanosam_stages_ms": {name: theirs_ms[name] for name in ("detect", "embed", "segment")},
            "objects": statistics.median(objects),
            "masks_iou": round(float(np.mean(agreements)), 4),
        }
