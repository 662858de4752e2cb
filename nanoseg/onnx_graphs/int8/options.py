"""Options and result of quantizing a detector."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nanoseg.errors import UsageError
from nanoseg.onnx_graphs.int8.calibrate import METHODS
from nanoseg.onnx_graphs.int8.report import QuantizeReport


@dataclass(frozen=True, kw_only=True)
class QuantizeOptions:
    """Options of `quantize_detector`; raises UsageError for values out of range, named by their flag.

    Attributes:
        detector: a float32 detector as an ONNX file.
        out: the file for the INT8 detector; `quantize_detector` does not write it.
        images: a folder or pattern of images, or parts://.
        annotations: a COCO file with the images' objects, to measure mAP.
        count: number of calibration images.
        method: how a tensor's range is chosen: percentile, minmax or entropy.
        percentile: the percentile of |x| of that method, by default 99.99.
        rest: precision of everything that is not INT8: fp32 or fp16.
        sensitivity: measure the error of each layer alone in INT8.
        max_drop: points of mAP50-95 (0 to 100) that INT8 may cost; layers are kept out of INT8 until it is met.
        test_count: number of evaluation images.
        detector_spec: a TOML file that describes another exporter's detector.
        size: side of the detector's input in pixels, where its file leaves it open.
        rescale: longer side of an image in the detector's input in pixels.
        anyway: return the network even where it agrees too little with float32.
    """

    detector: Path
    out: Path
    images: str
    annotations: Path | None = None
    count: int = 64
    method: str = "percentile"
    percentile: float | None = None
    rest: str = "fp16"
    sensitivity: bool = False
    max_drop: float | None = None
    test_count: int = 300
    detector_spec: Path | None = None
    size: int | None = None
    rescale: int | None = None
    anyway: bool = False

    def __post_init__(self) -> None:
        for flag, number in (("--count", self.count), ("--test-count", self.test_count)):
            if number < 1:
                raise UsageError(f"{flag}: wanted 1 or more, got {number}")
        for flag, value, choices in (("--method", self.method, METHODS), ("--rest", self.rest, ("fp32", "fp16"))):
            if value not in choices:
                raise UsageError(f"{flag}: wanted {', '.join(choices)}, got {value}")
        if self.percentile is not None:
            if self.method != "percentile":
                raise UsageError(f"--percentile: wanted with --method percentile, got {self.method}")
            if not 0 < self.percentile <= 100:
                raise UsageError(f"--percentile: wanted more than 0 and up to 100, got {self.percentile:g}")
        if self.max_drop is not None and not self.max_drop >= 0:
            raise UsageError(f"--max-drop: wanted 0 points or more, got {self.max_drop:g}")


@dataclass(frozen=True, eq=False)
class QuantizeResult:
    """The quantized detector and its report."""

    report: QuantizeReport
    onnx: bytes | None  # the file's content; None where `max_drop` is out of reach or it agrees too little with float32

    def __repr__(self) -> str:
        return f"QuantizeResult({self.report.detector!r}, {'refused' if self.onnx is None else 'quantized'})"

    def check(self) -> None:
        """Raise UsageError where `max_drop` is out of reach or INT8 spoils the network, so that there is none."""
        if self.report.refused is not None:
            raise UsageError(
                f"{self.report.pictures.source}: in INT8 {self.report.refused}; no network was written; calibrate on "
                "more images of what the detector is to see, give --max-drop, or --anyway"
            )
        budget = self.report.max_drop
        if self.onnx is None and budget is not None:
            raise UsageError(
                f"--max-drop {budget.points:g}: {budget.reason}; no network was written; allow more, or calibrate "
                "on more images (--count) or by another --method"
            )
