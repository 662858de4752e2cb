"""`nanoseg train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nanoseg.commands import options
from nanoseg.commands.arguments.export import DetectorVariant, EncoderVariant
from nanoseg.commands.options import examples, on_interrupt
from nanoseg.errors import needs
from nanoseg.models.training.options import DetectorOptions, SegmenterOptions
from nanoseg.utils.terminal import print_line

INTERRUPTED = "interrupted; --resume continues from the last save"

Out = Annotated[Path, typer.Option(metavar="DIR", help="Folder of the run.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")]
Weights = Annotated[Path | None, typer.Option(metavar="FILE", help="Checkpoint to start from (fine-tuning).")]
Annotations = Annotated[
    Path | None, typer.Option(metavar="COCO.json", help="COCO instances to train on; by default the simulated line.")
]
Images = Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of their images.")]
ValAnnotations = Annotated[Path | None, typer.Option(metavar="COCO.json", help="COCO instances to evaluate on.")]
Zoom = Annotated[tuple[float, float], typer.Option(metavar="MIN MAX", help="Range of the random zoom.")]
Samples = Annotated[int, typer.Option(metavar="N", help="Training images in all, each epoch counted anew.")]
Batch = Annotated[int, typer.Option(metavar="N", help="Images per optimizer step.")]
LearningRate = Annotated[float, typer.Option(metavar="RATE", help="Learning rate at its peak.")]
EvaluateEvery = Annotated[int, typer.Option(metavar="N", help="Training images between two evaluations.")]
EvaluateOn = Annotated[int, typer.Option(metavar="N", help="Validation images of one evaluation.")]
Seed = Annotated[int, typer.Option(metavar="N", help="Seed of all random numbers.")]
Device = Annotated[
    str | None, typer.Option(metavar="NAME", help="torch device; by default cuda where available, else cpu.")
]
Threads = Annotated[int, typer.Option(metavar="N", help="Threads of torch on a CPU; 0 leaves the number to torch.")]
Workers = Annotated[int, typer.Option(metavar="N", help="Processes that prepare batches; 0 uses none.")]
Bf16 = Annotated[bool, typer.Option("--bf16", help="bfloat16 arithmetic, where the machine is fast at it.")]


@examples(
    "nanoseg train detector --out runs/detector --samples 150000",
    "nanoseg train detector --out runs/mine --variant s --size 640 --zoom 0.5 1.5 --weights yolo_nas_s.pth "
    "--annotations train.json --images train/ --val-annotations val.json --val-images val/",
)
def detector(
    *,
    out: Out,
    resume: Resume = False,
    weights: Weights = None,
    annotations: Annotations = None,
    images: Images = None,
    val_annotations: ValAnnotations = None,
    val_images: Images = None,
    variant: Annotated[DetectorVariant, typer.Option(help="Variant of YOLO-NAS.")] = DetectorVariant.slim,
    size: Annotated[int, typer.Option(metavar="PX", help="Side of the network's input.")] = DetectorOptions.size_px,
    rescale: Annotated[
        int | None, typer.Option(metavar="PX", help="Longer side of an image in the input; by default the usual one.")
    ] = None,
    zoom: Zoom = DetectorOptions.zoom,
    samples: Samples = DetectorOptions.samples,
    batch: Batch = DetectorOptions.batch,
    learning_rate: LearningRate = DetectorOptions.learning_rate,
    evaluate_every: EvaluateEvery = DetectorOptions.evaluate_every,
    evaluate_on: EvaluateOn = DetectorOptions.evaluate_on,
    seed: Seed = DetectorOptions.seed,
    device: Device = None,
    threads: Threads = DetectorOptions.threads,
    workers: Workers = DetectorOptions.workers,
    bf16: Bf16 = False,
    debug: options.Debug = False,
) -> None:
    """Train YOLO-NAS on a COCO data set or the simulated line, from scratch or from a checkpoint.

    Loss and assigner are modern-yolonas's, one file of it: pip install --no-deps modern-yolonas==0.5.0. Writes
    OUT/checkpoint.pt, which nanoseg export yolo-nas takes. An interrupted run continues with --resume and the same
    options.
    """
    with on_interrupt(INTERRUPTED):
        with needs("torch", "train"):
            from nanoseg.models.training.train_detector import train_detector
        run = DetectorOptions(
            out=out,
            resume=resume,
            weights=weights,
            annotations=annotations,
            images=images,
            val_annotations=val_annotations,
            val_images=val_images,
            variant=variant.value,
            size_px=size,
            rescale_px=rescale,
            zoom=zoom,
            samples=samples,
            batch=batch,
            learning_rate=learning_rate,
            evaluate_every=evaluate_every,
            evaluate_on=evaluate_on,
            seed=seed,
            device=device,
            threads=threads,
            workers=workers,
            bf16=bf16,
        )
        print_line(str(train_detector(run)))


@examples(
    "nanoseg train segmenter --out runs/segmenter --samples 60000",
    "nanoseg train segmenter --out runs/mine --weights runs/segmenter/checkpoint.pt --samples 200000 "
    "--annotations train.json --images train/ --val-annotations val.json --val-images val/",
)
def segmenter(
    *,
    out: Out,
    resume: Resume = False,
    weights: Weights = None,
    annotations: Annotations = None,
    images: Images = None,
    val_annotations: ValAnnotations = None,
    val_images: Images = None,
    variant: Annotated[EncoderVariant, typer.Option(help="Variant of the image encoder.")] = EncoderVariant.slim,
    size: Annotated[int, typer.Option(metavar="PX", help="Side of the encoder's input.")] = SegmenterOptions.size_px,
    max_objects: Annotated[
        int, typer.Option(metavar="N", help="Maximum number of objects taken from one image.")
    ] = SegmenterOptions.max_objects,
    samples: Samples = SegmenterOptions.samples,
    batch: Batch = SegmenterOptions.batch,
    learning_rate: LearningRate = SegmenterOptions.learning_rate,
    evaluate_every: EvaluateEvery = SegmenterOptions.evaluate_every,
    evaluate_on: EvaluateOn = SegmenterOptions.evaluate_on,
    seed: Seed = SegmenterOptions.seed,
    device: Device = None,
    threads: Threads = SegmenterOptions.threads,
    workers: Workers = SegmenterOptions.workers,
    bf16: Bf16 = False,
    debug: options.Debug = False,
) -> None:
    """Train NanoSAM's image encoder and SAM's mask decoder together, on a COCO data set or the simulated line.

    Writes OUT/checkpoint.pt, which nanoseg export image-encoder and nanoseg export mask-decoder take. An interrupted
    run continues with --resume and the same options.
    """
    with on_interrupt(INTERRUPTED):
        with needs("torch", "train"):
            from nanoseg.models.training.train_segmenter import train_segmenter
        run = SegmenterOptions(
            out=out,
            resume=resume,
            weights=weights,
            annotations=annotations,
            images=images,
            val_annotations=val_annotations,
            val_images=val_images,
            variant=variant.value,
            size_px=size,
            max_objects=max_objects,
            samples=samples,
            batch=batch,
            learning_rate=learning_rate,
            evaluate_every=evaluate_every,
            evaluate_on=evaluate_on,
            seed=seed,
            device=device,
            threads=threads,
            workers=workers,
            bf16=bf16,
        )
        print_line(str(train_segmenter(run)))
