"""`nanoseg fp16`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nanoseg.commands import options
from nanoseg.commands.options import NOTHING_WRITTEN, examples, on_interrupt
from nanoseg.utils.terminal import print_error, print_json


@examples(
    "nanoseg fp16 encoder.onnx --out encoder-fp16.onnx --images parts:// --decoder decoder.onnx",
    "nanoseg fp16 encoder.onnx --out encoder-fp16.onnx --images val2017/ --annotations instances_val2017.json "
    "--decoder decoder.onnx --report report/",
    "nanoseg fp16 decoder.onnx --out decoder-fp16.onnx --images parts:// --encoder encoder.onnx",
    "nanoseg fp16 detector.onnx --out detector-fp16.onnx --images photos/",
)
def fp16(
    network: Annotated[
        Path,
        typer.Argument(
            metavar="NETWORK.onnx", help="Image encoder, mask decoder or detector, float32 or with Q/DQ nodes."
        ),
    ],
    *,
    out: options.OutOnnx,
    images: options.Images,
    annotations: options.Annotations = None,
    detector_spec: options.DetectorSpec = None,
    size: options.DetectorSize = None,
    rescale: options.DetectorRescale = None,
    count: Annotated[int, typer.Option(metavar="N", help="Number of images to measure and compare on.")] = 32,
    decoder: Annotated[
        Path | None, typer.Option(metavar="DECODER.onnx", help="Mask decoder of an image encoder, to compare masks.")
    ] = None,
    encoder: Annotated[
        Path | None,
        typer.Option(
            metavar="ENCODER.onnx", help="Image encoder of a mask decoder, which is measured on its embeddings."
        ),
    ] = None,
    report: options.Report = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Convert an image encoder, a mask decoder or a detector to FP16 and report what that costs.

    Takes the networks that nanoseg bundle make takes, except checkpoints: export them first. nanoseg bundle make takes
    the result as --encoder, --decoder or --detector. A detector's box decode stays float32, and so do norms, sums, the
    position encoding of points and every layer whose activations come near to 65504, the largest float16 number, on the
    images. Masks are compared for the objects' boxes, with --annotations also with the ground truth: of an encoder with
    --decoder, of a decoder with --encoder.

    Both networks run here, with float16 rounded after every operator, as a GPU does. --report writes report.json and
    report.md.
    """
    with on_interrupt(NOTHING_WRITTEN):
        from nanoseg.commands.fp16.report import print_report
        from nanoseg.commands.fp16.run import run_fp16
        from nanoseg.onnx_graphs.fp16.convert import Fp16Options

        given = Fp16Options(
            network=network,
            out=out,
            images=images,
            annotations=annotations,
            detector_spec=detector_spec,
            size=size,
            rescale=rescale,
            count=count,
            decoder=decoder,
            encoder=encoder,
        )
        result = run_fp16(given, report, print_error)
    if json:
        print_json(result)
    else:
        print_report(result, report)
