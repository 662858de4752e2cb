"""The report of a quantization: accuracy by precision, layers and their sensitivity, and the search for a budget."""

from __future__ import annotations

import msgspec


class AccuracyReport(msgspec.Struct):
    """Accuracy of one precision on the evaluation images; None where it cannot be computed."""

    map50_95: float | None
    map50: float | None
    drop_points: float | None  # points of map50_95 (0 to 100) lost against float32; negative where it gained
    drop_error: float | None  # standard error of the drop over the choice of evaluation images


class PrecisionReport(msgspec.Struct):
    """Accuracy of each precision on the same images."""

    float32: AccuracyReport
    all_int8: AccuracyReport
    written: AccuracyReport  # of the written file, in which some layers may be kept out of INT8


class CalibrationImages(msgspec.Struct):
    """The images of calibration and evaluation."""

    source: str
    annotations: str | None
    calibrated_on: int
    judged_on: int  # number of evaluation images
    shared: int  # evaluation images that calibration used, too
    split: str  # description of how they were split
    excluded: int = 0  # objects of the annotations that cannot be right, and were left out


class TrialReport(msgspec.Struct):
    """One measurement of the search for the layers to keep out of INT8."""

    kept: int
    drop_points: float


class BudgetReport(msgspec.Struct):
    """The budget for the drop of mAP, and how the search for it ended."""

    points: float
    reached: bool
    reason: str = msgspec.field(name="why")
    tried: list[TrialReport]


class AgreementReport(msgspec.Struct):
    """Agreement of the written network with float32 on some images; None where nothing was found in them."""

    images: int
    source: str
    score_difference: float | None  # of the best scores, as a share of them
    box_iou: float | None
    keypoint_shift: float | None = None  # of a detector of poses, in the square root of the box's area


class QuantizedLayer(msgspec.Struct):
    """One layer; `error` is its sensitivity to INT8, None where that was not measured."""

    name: str
    macs: int | None  # multiply-adds an image; None where shapes are dynamic
    int8: bool
    error: float | None = None


class QuantizeReport(msgspec.Struct):
    """Content of report.json: the detector that was quantized, the method, and the cost in accuracy."""

    detector: str
    out: str | None  # None: nothing was written
    bytes_before: int
    bytes: int | None
    method: str
    percentile: float | None
    rest: str  # precision of everything else: fp32, fp16
    pictures: CalibrationImages
    accuracy: PrecisionReport | None  # None: the images have no known objects
    max_drop: BudgetReport | None
    kept: list[str]  # layers that are not in INT8, in the network's order
    layers: list[QuantizedLayer]  # in the network's order
    seconds: float
    agreement: list[AgreementReport] = []  # on images of its own, then on built-in ones
    refused: str | None = None  # why the network was not written, where it agrees too little with float32
