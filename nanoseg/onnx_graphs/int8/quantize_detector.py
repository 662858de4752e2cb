"""Calibrate a detector, measure what INT8 costs it, keep out what costs too much, and write what is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from nanoseg.commands.picture_options import check_files, put_files
from nanoseg.commands.quantize.report import (
    REPORT,
    Accuracy,
    Budget,
    Figures,
    LayerReport,
    PictureReport,
    Report,
    Tried,
    needs_matplotlib,
    report_files,
)
from nanoseg.errors import UsageError
from nanoseg.evaluation.detector import LabelledImages, Measured, match_classes, map_drop, measure, detector_preparer
from nanoseg.evaluation.scenes import open_scenes
from nanoseg.evaluation.split import split
from nanoseg.onnx_graphs.adapt.detector import load_detector
from nanoseg.onnx_graphs.adapt.detector_spec import read_detector_spec
from nanoseg.onnx_graphs.deploy.compose import choose_rescale_px
from nanoseg.onnx_graphs.fp16.to_fp16 import to_fp16
from nanoseg.onnx_graphs.int8.calibrate import PERCENTILE, Calibrator
from nanoseg.onnx_graphs.int8.mixed_precision import Selection, select_layers
from nanoseg.onnx_graphs.int8.quantize import check_layers, quantize
from nanoseg.onnx_graphs.int8.sensitivity import measure_sensitivity
from nanoseg.onnx_graphs.model.nodes import box_decode_nodes
from nanoseg.utils.terminal import format_number, plural, progress_bar

SWEEP_PICTURES = 8  # of those calibrated on; they are held in memory, and every layer is run on each


@dataclass(frozen=True)
class Job:
    """What was asked for, by the names of the flags."""

    detector: Path
    out: Path
    images: str
    annotations: Path | None = None
    count: int = 64
    method: str = "percentile"
    percentile: float | None = None
    rest: str = "fp32"
    sensitivity: bool = False
    max_drop: float | None = None
    test_count: int = 300
    report: Path | None = None
    detector_spec: Path | None = None
    size: int | None = None
    rescale: int | None = None


class QuantizeRun:
    """One job, step by step; `say` is told what was found on the way."""

    def __init__(self, job: Job, say: Callable[[str], None]) -> None:
        """Reads and checks all that can be told before minutes are spent; raises NanosegError."""
        _check(job)
        self._job, self._say, self._began = job, say, time.monotonic()
        form = None if job.detector_spec is None else read_detector_spec(job.detector_spec)
        self._detector = load_detector(job.detector, form, job.size)
        self._model = self._detector.model
        self._model.graph.name = job.detector.name  # what is wrong with it is told of this name
        self._layers = check_layers(self._model)
        rescale_px, why = choose_rescale_px(self._detector, form, job.rescale)
        self._prepare = detector_preparer(self._detector, rescale_px)
        scenes = open_scenes(job.images, job.annotations)
        self._split = split(scenes, job.count, job.test_count)
        self._pictures: LabelledImages | None = None
        if self._split.judge_on:
            classes = match_classes(scenes, self._detector, str(job.annotations or job.images))
            self._pictures = LabelledImages(self._split.judge, self._split.judge_on, classes, self._prepare)
        self._measured: dict[tuple[str, ...] | None, Measured] = {}  # by the layers kept out; None: float32
        self._errors: dict[str, float] = {}  # by layer, each alone in INT8
        say(f"a picture's longer side becomes {rescale_px} of the detector's {self._detector.dims['S']} px, {why}")

    def run(self) -> Report:
        """All of it. Where --max-drop is out of reach the report is written, the network is not, and that is raised.

        Raises NanosegError where something fails.
        """
        job = self._job
        if self._pictures is not None and self._map(None).scores.map50_95 is None:
            self._pictures = None  # not a single object in them
        if self._pictures is None and job.max_drop is not None:
            raise UsageError("--max-drop: wanted pictures whose objects are known, got none; give --annotations")
        self._calibrate()
        selection: Selection | None = None
        if job.max_drop is not None:
            selection = select_layers(self._ranked, self._drop, job.max_drop)
        elif self._pictures is not None:
            self._map(())
        if job.sensitivity:
            self._ranked()
        kept = selection.kept if selection else ()
        reached = selection is None or (selection.within and len(kept) < len(self._layers))
        data = self._quantized(kept).SerializeToString(deterministic=True) if reached else None
        report = self._report(kept, selection, None if data is None else len(data))
        files = {} if data is None else {job.out: data}
        if job.report is not None:
            files |= report_files(report, job.report)
        put_files(files)
        if report.max_drop is not None and not reached:
            raise UsageError(
                f"--max-drop {job.max_drop:g}: {report.max_drop.why}; no network was written; allow more, or calibrate "
                "on more pictures (--count) or by another --method"
            )
        return report

    def _calibrate(self) -> None:
        job, scenes, indices = self._job, self._split.learn, self._split.learn_on
        calibrator = Calibrator(self._model, job.method, job.percentile or PERCENTILE)
        if len(indices) < job.count:
            self._say(
                f"{job.images}: holds {plural(len(indices), 'picture')}, fewer than --count {job.count}: all serve"
            )
        with progress_bar("calibrating", len(indices), unit="pictures") as advance:
            for index in indices:
                calibrator.add(self._prepare(scenes[index].image).images)
                advance()
        self._ranges, self._origin = calibrator.ranges(), calibrator.origin

    def _quantized(self, kept: Sequence[str]) -> onnx.ModelProto:
        half = self._job.rest == "fp16"
        made = quantize(self._model, self._ranges, kept, half_scales=half, origin=self._origin)
        return to_fp16(made, keep=box_decode_nodes(made.graph.node)) if half else made

    def _map(self, kept: tuple[str, ...] | None) -> Measured:
        """Measured once for each choice of layers to keep out; None is float32."""
        if self._pictures is None:
            raise UsageError("mAP: wanted pictures whose objects are known, got none")
        if kept not in self._measured:
            what = "float32" if kept is None else "INT8" + (f", {plural(len(kept), 'layer')} kept out" if kept else "")
            model = self._model if kept is None else self._quantized(kept)
            with progress_bar(f"measuring {what}", len(self._pictures), unit="pictures") as advance:
                self._measured[kept] = measure(self._detector, model, self._pictures, advance)
            self._say(f"{what}: mAP50-95 {format_number(self._measured[kept].scores.map50_95, 4)}")
        return self._measured[kept]

    def _drop(self, kept: Sequence[str]) -> float:
        return map_drop(self._map(None), self._map(tuple(kept)))[0]

    def _accuracy(self, kept: tuple[str, ...] | None) -> Accuracy:
        scores = self._map(kept).scores
        lost, error = (None, None) if kept is None else map_drop(self._map(None), self._map(kept))
        return Accuracy(_rounded(scores.map50_95, 5), _rounded(scores.map50, 5), _rounded(lost, 3), _rounded(error, 3))

    def _ranked(self) -> list[str]:
        """All layers, the most sensitive first; measured when first asked for."""
        if not self._errors:
            scenes, indices = self._split.learn, self._split.learn_on
            some = indices[:: -(-len(indices) // SWEEP_PICTURES)]
            pictures = [self._prepare(scenes[index].image).images.copy() for index in some]
            with progress_bar("each layer alone in INT8", len(self._layers), unit="layers") as advance:
                found = measure_sensitivity(self._model, self._ranges, pictures, lambda _: advance())
            self._errors = {each.layer.name: each.error for each in found}
        return sorted(self._errors, key=lambda name: -self._errors[name])

    def _report(self, kept: Sequence[str], selection: Selection | None, size: int | None) -> Report:
        job, halves = self._job, self._split
        accuracy = None
        if self._pictures is not None:
            accuracy = Figures(self._accuracy(None), self._accuracy(()), self._accuracy(tuple(kept)))
        budget = None
        if selection is not None:
            all_kept = len(selection.kept) == len(self._layers)
            why = "out of reach: no layer in INT8 is within it" if selection.within and all_kept else selection.why()
            tried = [Tried(trial.kept, round(trial.drop, 3)) for trial in selection.trials]
            budget = Budget(selection.budget, size is not None, why, tried)
        return Report(
            detector=str(job.detector),
            out=None if size is None else str(job.out),
            bytes_before=job.detector.stat().st_size,
            bytes=size,
            method=job.method,
            percentile=self._origin.get("percentile"),
            rest=job.rest,
            pictures=PictureReport(
                job.images,
                None if job.annotations is None else str(job.annotations),
                len(halves.learn_on),
                0 if accuracy is None else len(halves.judge_on),
                0 if accuracy is None else halves.shared,
                halves.told() if accuracy or not halves.judge_on else "the pictures that were to judge show no object",
            ),
            accuracy=accuracy,
            max_drop=budget,
            kept=[layer.name for layer in self._layers if layer.name in kept],
            layers=[
                LayerReport(layer.name, layer.op, layer.macs, layer.name not in kept, self._errors.get(layer.name))
                for layer in self._layers
            ],
            seconds=round(time.monotonic() - self._began, 1),
        )


def _check(job: Job) -> None:
    """Raise UsageError for flags that cannot be, DependencyError where the report's plot cannot be drawn."""
    for flag, number in (("--count", job.count), ("--test-count", job.test_count)):
        if number < 1:
            raise UsageError(f"{flag}: wanted 1 or more, got {number}")
    if job.percentile is not None:
        if job.method != "percentile":
            raise UsageError(f"--percentile: wanted with --method percentile, got {job.method}")
        if not 0 < job.percentile <= 100:
            raise UsageError(f"--percentile: wanted more than 0 and up to 100, got {job.percentile:g}")
    if job.max_drop is not None and not job.max_drop >= 0:
        raise UsageError(f"--max-drop: wanted 0 points or more, got {job.max_drop:g}")
    report = None if job.report is None else job.report / REPORT
    check_files(job.out, job.detector, "detector", (job.annotations, job.detector_spec), report)
    if report is not None and (job.sensitivity or job.max_drop is not None):
        needs_matplotlib()


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
