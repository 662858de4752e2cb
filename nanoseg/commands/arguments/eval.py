"""`nanoseg eval`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from nanoseg.commands import options
from nanoseg.commands.options import examples, on_interrupt


class PromptChoice(str, Enum):
    """What the masks are prompted by."""

    truth = "truth"
    detected = "detected"


class ResizeChoice(str, Enum):
    """Ways to resize a frame for the encoder."""

    cv2 = "cv2"
    pil = "pil"
    nanosam = "nanosam"


@examples(
    "nanoseg eval --bundle coco --images val2017 --annotations instances_val2017.json --out coco-masks",
    "nanoseg eval --bundle coco --images val2017 --annotations instances_val2017.json --prompts detected --out coco",
    "nanoseg eval --images photos --annotations photos.json --limit 100 --json",
    "nanoseg eval --bundle mine --images photos --annotations photos.json --backend tensorrt --prompts detected",
)
def eval_(
    *,
    bundle: options.BundleName = "parts",
    images: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the images of --annotations.")],
    annotations: Annotated[Path, typer.Option(metavar="COCO.json", help="COCO instances of the images.")],
    prompts: Annotated[
        PromptChoice,
        typer.Option(help="Masks of the annotations' boxes, or the bundle's own detections with their masks."),
    ] = PromptChoice.truth,
    confidence: Annotated[
        float, typer.Option(min=0, max=1, help="Minimum confidence of a detection; mAP wants nearly all of them.")
    ] = 0.01,
    iou: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Overlap above which NMS drops a box; by default the bundle's."),
    ] = None,
    resize: Annotated[
        ResizeChoice | None,
        typer.Option(
            help="How frames are resized for the encoder: by default as NanoSAM does with --prompts truth, and as "
            "nanoseg run does (cv2) with --prompts detected and on backend tensorrt, which has no other."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=options.output_path,
            metavar="DIR",
            help="Folder for report.json, report.html, detections.json, objects.json, and images.jsonl, from which an "
            "ended run goes on.",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Evaluate the first images alone, by their ids.")
    ] = None,
    backend: options.Backend = "auto",
    engines: options.Engines = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Evaluate a bundle on a COCO data set: NanoSAM's mean mask IoU, or COCO's mAP of boxes and masks.

    --prompts truth is NanoSAM's protocol: each annotation's box, crowds included, is a prompt, of the decoder's four
    masks the one of the highest predicted IoU counts, and the mean IoU is over all annotations, and by COCO's sizes and
    categories. Backend auto runs it with ONNX Runtime, as TensorRT's engines resize frames in another way.

    --prompts detected runs the whole bundle: COCO's twelve figures of boxes and of masks as pycocotools computes them,
    and the mean IoU of the objects' masks at the bundle's own confidence; an object that is not found counts 0.

    With --out a run that was ended, in whatever way, goes on where it was when it is started again, as long as the
    bundle, the annotations and these options are the same.
    """
    with on_interrupt(f"interrupted; {'run again to go on' if out else 'nothing was written'}"):
        from nanoseg.commands.eval.command import EvalOptions
        from nanoseg.commands.eval.command import eval_ as evaluate_and_print

        evaluate_and_print(
            EvalOptions(
                bundle=bundle,
                images=images,
                annotations=annotations,
                prompts=prompts.value,
                confidence=confidence,
                iou=iou,
                resize=None if resize is None else resize.value,
                out=out,
                limit=limit,
                backend=backend,
                engines=engines,
                json=json,
            )
        )
