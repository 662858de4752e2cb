"""Quantize a detector: calibrate it, measure the drop of mAP, and keep out of INT8 the layers that cost too much."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import onnx

from nanoseg.errors import BundleError, UsageError
from nanoseg.evaluation.detector import (
    DetectorInputs,
    DetectorScores,
    detector_preprocessor,
    map_drop,
    match_classes,
    measure_map,
)
from nanoseg.evaluation.open_scenes import open_scenes
from nanoseg.evaluation.split import split_scenes
from nanoseg.onnx_graphs.adapt.detector import load_detector
from nanoseg.onnx_graphs.adapt.detector_spec import read_detector_spec
from nanoseg.onnx_graphs.deploy.check_images import built_in_images
from nanoseg.onnx_graphs.deploy.detector_metadata import choose_rescale_px
from nanoseg.onnx_graphs.fp16.to_fp16 import to_fp16
from nanoseg.onnx_graphs.int8.calibrate import PERCENTILE, Calibrator
from nanoseg.onnx_graphs.int8.compare import compare_with_float
from nanoseg.onnx_graphs.int8.contrast import ContrastMeter
from nanoseg.onnx_graphs.int8.mixed_precision import Selection, select_layers
from nanoseg.onnx_graphs.int8.options import QuantizeOptions, QuantizeResult
from nanoseg.onnx_graphs.int8.quantize import check_layers, quantize
from nanoseg.onnx_graphs.int8.report import (
    AccuracyReport,
    AgreementReport,
    BudgetReport,
    CalibrationImages,
    PrecisionReport,
    QuantizedLayer,
    QuantizeReport,
    TrialReport,
)
from nanoseg.onnx_graphs.int8.sensitivity import measure_sensitivity
from nanoseg.onnx_graphs.model.nodes import box_decode_nodes
from nanoseg.utils.terminal import format_number, plural, progress_bar

MIN_KEPT_MAP = 0.5  # of float32's; less is no quantized detector but a broken one
_NO_OBJECTS = "--max-drop: wanted images whose objects are known, got none; give --annotations"
SENSITIVITY_IMAGES = 8  # of the calibration images; they are held in memory, and every layer is run on each


def quantize_detector(options: QuantizeOptions, log: Callable[[str], None] = lambda _: None) -> QuantizeResult:
    """Quantize a detector to INT8 and measure what that costs.

    Progress bars go to a terminal's stderr. Nothing is written.

    Args:
        options: the detector, the images and the method.
        log: called with each finding on the way, one line each.

    Raises:
        NanosegError: a file, an image or an option does not fit; most of that is found before the long work.
    """
    return _QuantizeRun(options, log).run()


class _QuantizeRun:
    """State of one quantization."""

    def __init__(self, options: QuantizeOptions, log: Callable[[str], None]) -> None:
        """Load and check everything that needs no long work."""
        self._options, self._log, self._start = options, log, time.monotonic()
        spec = None if options.detector_spec is None else read_detector_spec(options.detector_spec)
        self._detector = load_detector(options.detector, spec, options.size)
        if self._detector.is_end2end:
            raise BundleError(
                f"{options.detector}: wanted a detector with one score a class for each box, got an end-to-end one; "
                "export it without NMS (Ultralytics: end2end=False), or name the tensors before it as boxes and scores "
                "in --detector-spec"
            )
        self._model = self._detector.model
        self._model.graph.name = options.detector.name  # the name in error messages
        self._layers = check_layers(self._model)
        rescale_px, reason = choose_rescale_px(self._detector, spec, options.rescale)
        self._prepare = detector_preprocessor(self._detector, rescale_px)
        scenes = open_scenes(options.images, options.annotations)
        self._split = split_scenes(scenes, options.count, options.test_count)
        self._images: DetectorInputs | None = None
        if self._split.evaluation_indices:
            classes = match_classes(scenes, self._detector, str(options.annotations or options.images))
            self._images = DetectorInputs(
                self._split.evaluation, self._split.evaluation_indices, classes, self._prepare
            )
        self._scores: dict[tuple[str, ...] | None, DetectorScores] = {}  # by the layers kept out; None: float32
        self._errors: dict[str, float] = {}  # sensitivity by layer
        log(f"the frame's longer side becomes {rescale_px} of the detector's {self._detector.dims['S']} px, {reason}")

    def run(self) -> QuantizeResult:
        options = self._options
        if self._images is None and options.max_drop is not None:
            raise UsageError(_NO_OBJECTS)
        self._calibrate()
        if self._images is not None and self._measure(None).scores.map50_95 is None:
            self._images = None  # none of the images has an object
        if self._images is None and options.max_drop is not None:
            raise UsageError(_NO_OBJECTS)
        selection: Selection | None = None
        if options.max_drop is not None:
            selection = select_layers(self._ranked_layers, self._drop, options.max_drop)
        elif self._images is not None:
            self._measure(())
        if options.sensitivity:
            self._ranked_layers()
        kept = selection.kept if selection else ()
        reached = selection is None or (selection.within and len(kept) < len(self._layers))
        data, agreement, refused = None, list[AgreementReport](), None
        if reached:
            model = self._quantized(kept)
            agreement, problem = self._compare(model)
            refused = None if options.anyway else self._spoilt(kept, problem)
            data = None if refused else model.SerializeToString(deterministic=True)
        report = self._report(kept, selection, None if data is None else len(data))
        report.agreement, report.refused = agreement, refused
        return QuantizeResult(report, data)

    def _compare(self, model: onnx.ModelProto) -> tuple[list[AgreementReport], str]:
        """Return the agreement with float32 on own images and on built-in ones, and what is wrong with it."""
        scenes, indices = self._split.calibration, self._split.calibration_indices
        if self._split.evaluation_indices:
            scenes, indices = self._split.evaluation, self._split.evaluation_indices
        some = indices[:: -(-len(indices) // SENSITIVITY_IMAGES)]
        images = {
            self._options.images: [scenes[index].image for index in some],
            "built in": built_in_images(),
        }
        reports, problem = [], ""
        for source, found in compare_with_float(self._model, model, self._prepare, images).items():
            agreement = found.score_difference, found.box_iou, found.keypoint_shift
            reports.append(AgreementReport(found.images, source, *agreement))
            self._log(f"INT8 against float32 on {plural(found.images, 'image')}, {source}: {found}")
            problem = problem or (found.problem if source != "built in" else found.severe_problem)
        return reports, problem

    def _spoilt(self, kept: Sequence[str], problem: str) -> str | None:
        """Return why the network is not to be written: by its mAP where that is known, else by its agreement."""
        if self._images is None:
            return problem or None
        before, after = (self._measure(each).scores.map50_95 or 0.0 for each in (None, tuple(kept)))
        if after < MIN_KEPT_MAP * before:
            return f"mAP50-95 is {after:.4f}, {before:.4f} in float32"
        return None

    def _calibrate(self) -> None:
        options, scenes, indices = self._options, self._split.calibration, self._split.calibration_indices
        calibrator, contrast = (
            Calibrator(self._model, options.method, options.percentile or PERCENTILE),
            ContrastMeter(),
        )
        if len(indices) < options.count:
            found = plural(len(indices), "image")
            self._log(f"{options.images}: holds {found}, fewer than --count {options.count}: all are used")
        with progress_bar("calibrating", len(indices), unit="images") as advance:
            for index in indices:
                image = scenes[index].image
                contrast.add(image)
                calibrator.add(self._prepare(image).images)
                advance()
        if remark := contrast.check(options.images):
            self._log(remark)
        self._ranges, self._origin = calibrator.ranges(), calibrator.origin

    def _quantized(self, kept: Sequence[str]) -> onnx.ModelProto:
        fp16 = self._options.rest == "fp16"
        model = quantize(self._model, self._ranges, kept, fp16_scales=fp16, origin=self._origin)
        return to_fp16(model, keep=box_decode_nodes(model.graph.node)) if fp16 else model

    def _measure(self, kept: tuple[str, ...] | None) -> DetectorScores:
        """Return the scores with these layers kept out of INT8, None for float32; each is measured once."""
        if self._images is None:
            raise UsageError("mAP: wanted images whose objects are known, got none")
        if kept not in self._scores:
            name = "float32" if kept is None else "INT8" + (f", {plural(len(kept), 'layer')} kept out" if kept else "")
            model = self._model if kept is None else self._quantized(kept)
            with progress_bar(f"measuring {name}", len(self._images), unit="images") as advance:
                self._scores[kept] = measure_map(self._detector, model, self._images, advance)
            self._log(f"{name}: mAP50-95 {format_number(self._scores[kept].scores.map50_95, 4)}")
        return self._scores[kept]

    def _drop(self, kept: Sequence[str]) -> float:
        return map_drop(self._measure(None), self._measure(tuple(kept)))[0]

    def _accuracy(self, kept: tuple[str, ...] | None) -> AccuracyReport:
        scores = self._measure(kept).scores
        drop, error = (None, None) if kept is None else map_drop(self._measure(None), self._measure(kept))
        return AccuracyReport(
            _rounded(scores.map50_95, 5), _rounded(scores.map50, 5), _rounded(drop, 3), _rounded(error, 3)
        )

    def _ranked_layers(self) -> list[str]:
        """Return all layers, the most sensitive first; measured at the first call."""
        if not self._errors:
            scenes, indices = self._split.calibration, self._split.calibration_indices
            some = indices[:: -(-len(indices) // SENSITIVITY_IMAGES)]
            images = [self._prepare(scenes[index].image).images.copy() for index in some]
            with progress_bar("each layer alone in INT8", len(self._layers), unit="layers") as advance:
                found = measure_sensitivity(self._model, self._ranges, images, lambda _: advance())
            self._errors = {each.layer.name: each.error for each in found}
        return sorted(self._errors, key=lambda name: -self._errors[name])

    def _report(self, kept: Sequence[str], selection: Selection | None, size: int | None) -> QuantizeReport:
        options = self._options
        accuracy = None
        if self._images is not None:
            accuracy = PrecisionReport(self._accuracy(None), self._accuracy(()), self._accuracy(tuple(kept)))
        return QuantizeReport(
            detector=str(options.detector),
            out=None if size is None else str(options.out),
            bytes_before=options.detector.stat().st_size,
            bytes=size,
            method=options.method,
            percentile=self._origin.get("percentile"),
            rest=options.rest,
            pictures=self._image_report(is_evaluated=accuracy is not None),
            accuracy=accuracy,
            max_drop=None if selection is None else self._budget_report(selection, reached=size is not None),
            kept=[layer.name for layer in self._layers if layer.name in kept],
            layers=[
                QuantizedLayer(layer.name, layer.macs, layer.name not in kept, self._errors.get(layer.name))
                for layer in self._layers
            ],
            seconds=round(time.monotonic() - self._start, 1),
        )

    def _image_report(self, *, is_evaluated: bool) -> CalibrationImages:
        options, split = self._options, self._split
        no_objects = bool(split.evaluation_indices) and not is_evaluated
        return CalibrationImages(
            source=options.images,
            annotations=None if options.annotations is None else str(options.annotations),
            calibrated_on=len(split.calibration_indices),
            judged_on=len(split.evaluation_indices) if is_evaluated else 0,
            shared=split.shared if is_evaluated else 0,
            split="the evaluation images have no object" if no_objects else split.describe(),
            excluded=getattr(split.evaluation, "excluded", 0),
        )

    def _budget_report(self, selection: Selection, *, reached: bool) -> BudgetReport:
        all_kept = len(selection.kept) == len(self._layers)
        reason = "out of reach: no layer in INT8 is within it" if selection.within and all_kept else selection.reason()
        trials = [TrialReport(trial.kept, round(trial.drop, 3)) for trial in selection.trials]
        return BudgetReport(points=selection.budget, reached=reached, reason=reason, tried=trials)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
