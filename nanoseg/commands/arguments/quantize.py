"""`nanoseg quantize`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from nanoseg.commands import options
from nanoseg.commands.options import NOTHING_WRITTEN, examples, on_interrupt
from nanoseg.utils.terminal import print_error, print_json


class Method(str, Enum):
    """Ways to choose a tensor's range."""

    percentile = "percentile"
    minmax = "minmax"
    entropy = "entropy"


class Rest(str, Enum):
    """Precisions of what is not INT8."""

    fp32 = "fp32"
    fp16 = "fp16"


@examples(
    "nanoseg quantize detector.onnx --out int8.onnx --images parts://",
    "nanoseg quantize detector.onnx --out int8.onnx --images photos/ --annotations coco.json --max-drop 0.5 "
    "--report report/",
    "nanoseg quantize detector.onnx --out int8.onnx --images photos/   # calibrates; no mAP is measured",
)
def quantize(
    detector: Annotated[
        Path, typer.Argument(metavar="DETECTOR.onnx", help="Float32 detector: images -> boxes, scores.")
    ],
    *,
    out: options.OutOnnx,
    images: options.Images,
    annotations: options.Annotations = None,
    detector_spec: options.DetectorSpec = None,
    size: options.DetectorSize = None,
    rescale: options.DetectorRescale = None,
    count: Annotated[int, typer.Option(metavar="N", help="Number of images to calibrate on.")] = 64,
    method: Annotated[
        Method,
        typer.Option(
            help="Choice of a tensor's range: a percentile of its magnitudes, their maximum, or minimum KL divergence."
        ),
    ] = Method.percentile,
    percentile: Annotated[
        float | None, typer.Option(metavar="P", help="Percentile of --method percentile; by default 99.99.")
    ] = None,
    rest: Annotated[Rest, typer.Option(help="Precision of what is not INT8.")] = Rest.fp16,
    sensitivity: Annotated[
        bool, typer.Option("--sensitivity", help="Measure the effect of INT8 in each layer alone.")
    ] = False,
    max_drop: Annotated[
        float | None,
        typer.Option(
            metavar="POINTS", help="Points of mAP50-95 (0 to 100) that INT8 may cost; keeps layers out of INT8."
        ),
    ] = None,
    test_count: Annotated[int, typer.Option(metavar="N", help="Number of images to measure mAP on.")] = 300,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Write the network even where it agrees too little with float32.")
    ] = False,
    report: options.Report = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Quantize a detector to INT8 and report what that costs.

    Takes the detectors that nanoseg bundle make takes, except checkpoints: export them first. The result holds
    explicit Q/DQ nodes: INT8 in the convolutions, with per-channel scales for their weights, float32 in the decode of
    boxes and scores, and float16 or, with --rest fp32, float32 elsewhere. nanoseg bundle make takes it as --detector.

    Of a COCO file some images serve to calibrate and others to measure mAP, in float32 and INT8 alike; parts:// is the
    simulated line, measured on lines that neither training nor the demo's tests use. With --max-drop the most sensitive
    layers are kept out of INT8 until no more than that is lost. --report writes report.json, report.md and
    sensitivity.png.
    """
    with on_interrupt(NOTHING_WRITTEN):
        from nanoseg.commands.quantize.report import print_report
        from nanoseg.commands.quantize.run import run_quantize
        from nanoseg.onnx_graphs.int8.options import QuantizeOptions

        given = QuantizeOptions(
            detector=detector,
            out=out,
            images=images,
            annotations=annotations,
            detector_spec=detector_spec,
            size=size,
            rescale=rescale,
            count=count,
            method=method.value,
            percentile=percentile,
            rest=rest.value,
            sensitivity=sensitivity,
            max_drop=max_drop,
            test_count=test_count,
            anyway=anyway,
        )
        result = run_quantize(given, report, print_error)
    if json:
        print_json(result)
    else:
        print_report(result, report)
