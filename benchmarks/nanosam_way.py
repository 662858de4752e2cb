"""The pipeline on the CPU against the way of NanoSAM's own predictor, on full-size networks.

    python benchmarks/nanosam_way.py                                       # makes a bundle first: a minute or two
    python benchmarks/nanosam_way.py --bundle F --rounds 30 --json way.json     # F: benchmarks/full_size_bundle.py

Both find the same boxes with the same detector and embed the frame with the same encoder, each in the same session of
ONNX Runtime, and cut every object out of the frame: the pipeline each mask in its region; NanoSAM's way as in
benchmarks/nanosam_predictor.py, with segment-anything's decoder exported plainly. The pipeline's bare network calls
are timed, too. All three take turns in one process, so that a busy machine slows down all; medians are compared.

`own_ms` is the pipeline's time outside of its sessions, within the calls of `pipeline_ms`; a busy machine changes it
less than `overhead`. `masks_iou` is the mean IoU of both ways' masks, near 1 but for their different resizing; it means
something only for a bundle of benchmarks/full_size_bundle.py, whose decoder's weights are the plain one's.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import torch
from PIL import Image

import common
import nanoseg
from full_size_bundle import networks
from nanosam_predictor import BOX_LABELS, Predictor, letterbox
from nanoseg.backends.onnxruntime.engine import OrtEngine
from nanoseg.backends.onnxruntime.session import available_cpus
from nanoseg.models.export.to_onnx import export_onnx
from nanoseg.models.mask_decoder import MaskDecoder
from nanoseg.processing.geometry import Geometry
from nanoseg.processing.nms import RawDetections, from_candidates, postprocess
from nanoseg.sources.simulator.line import SimulatedLine
from nanoseg.types import Detections, Frame
from nanoseg.utils.timing import Stopwatch
from pipeline import FRAMES, WARM_UP, bare_calls, crops, milliseconds
from plain_decoder import PlainDecoder

# At most this part of the time of NanoSAM's way, and so much more than the bare calls.
TARGET, OVERHEAD_TARGET = 0.75, 0.05
MAKER = Path(__file__).with_name("full_size_bundle.py")
Stages = dict[str, float]  # milliseconds, `total` among them


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

    def run(self, *args: Any) -> Any:
        """As the session's."""
        started = time.perf_counter()
        out = self._session.run(*args)
        self._spent.append((time.perf_counter() - started) * 1e3)
        return out


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


def total_ms(work: Callable[[], object]) -> tuple[None, Stages]:
    """Return None and the time of `work`."""
    return None, {"total": milliseconds(work)}


def measure(segmenter: nanoseg.Segmenter, way: NanosamWay, frames: list[Frame], rounds: int) -> dict[str, Any]:
    """Return the medians in milliseconds, and their ratios."""
    bare = [bare_calls(segmenter, frame) for frame in frames]
    in_calls: list[float] = []
    engines: Any = segmenter.pipeline.engines  # type: ignore[attr-defined]
    for engine in engines.values():
        engine._session = TimedSession(engine._session, in_calls)
    spent: dict[str, list[Stages]] = {"ours": [], "nanosam": [], "bare": []}
    agreements, objects = [], []
    for i in range(-WARM_UP, rounds):
        frame, calls = frames[i % len(frames)], bare[i % len(frames)]
        turns: dict[str, Callable[[], tuple[Any, Stages]]] = {
            "ours": partial(ours, segmenter, frame, in_calls),
            "bare": partial(total_ms, calls),
            "nanosam": partial(way, frame),
        }
        # Who goes first changes: whatever slows the first down hits all.
        names = list(turns)[i % 3 :] + list(turns)[: i % 3]
        results = {name: turns[name]() for name in names}
        if i >= 0:
            for name, (_, stages) in results.items():
                spent[name].append(stages)
            found, theirs = results["ours"][0], results["nanosam"][0]
            objects.append(len(found))
            agreements.append(agreement(found, theirs))
    medians = {name: {stage: median(each[stage] for each in some) for stage in some[0]} for name, some in spent.items()}
    bare_ms = medians["bare"]["total"]
    return {
        "ours_ms": medians["ours"]["total"],
        "nanosam_ms": medians["nanosam"]["total"],
        "ratio": round(medians["ours"]["total"] / medians["nanosam"]["total"], 3),
        "target": TARGET,
        "pipeline_ms": medians["ours"]["pipeline"],
        "bare_ms": bare_ms,
        "overhead": round(medians["ours"]["pipeline"] / bare_ms - 1, 4),
        "overhead_target": OVERHEAD_TARGET,
        "own_ms": medians["ours"]["own"],
        "ours_stages_ms": {name: medians["ours"][name] for name in ("prepare", "detect", "embed", "segment", "masks")},
        "nanosam_stages_ms": {name: medians["nanosam"][name] for name in ("detect", "embed", "segment")},
        "objects": median(objects),
        "masks_iou": round(float(np.mean(agreements)), 4),
        "rounds": rounds,
    }


def median(values: Iterable[float]) -> float:
    """Rounded, for people."""
    return round(statistics.median(values), 3)


def main() -> int:
    """Parse, measure, print."""
    parser = common.flags(__doc__, frame="1280x720", rounds=15)
    parser.add_argument("--bundle", help="a bundle's name or folder; by default a full-size one is made")
    parser.add_argument("--objects", type=int, default=10, metavar="N", help="so many boxes (default: %(default)s)")
    options = parser.parse_args()

    def report(size_wh: tuple[int, int]) -> dict[str, Any]:
        torch.set_num_threads(available_cpus())  # as many as ONNX Runtime has
        frames = [SimulatedLine(seed=1, size_wh=size_wh).frame(i) for i in range(FRAMES)]
        with tempfile.TemporaryDirectory() as scratch:
            bundle = options.bundle
            if bundle is None:
                bundle = Path(scratch, "full-size")
                subprocess.run([sys.executable, MAKER, "--out", bundle], check=True)
            # Random weights find nothing: with confidence 0, the first N boxes that NMS keeps are the objects.
            with nanoseg.load(bundle, "onnxruntime", confidence=0.0, max_objects=options.objects) as segmenter:
                decoder = plain_decoder(Path(scratch, "decoder.onnx"), segmenter.bundle.encoder_px)
                found = measure(segmenter, NanosamWay(segmenter, decoder), frames, options.rounds)
                decoder.close()
                return {**found, "bundle": segmenter.bundle.name, "frame": options.frame, "device": segmenter.device}

    return common.run("nanosam_way", options, report)


if __name__ == "__main__":
    sys.exit(main())
