"""`nanoseg run`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nanoseg.commands import options
from nanoseg.commands.options import examples
from nanoseg.sources.source import MAX_PIXELS


@examples(
    "nanoseg run photo.jpg --out annotated.png",
    "nanoseg run photos/ --out annotated --classes gear,nut --no-labels",
    "nanoseg run photos/ --bundle my-bundle --results found.jsonl",
    "nanoseg run 'photos/**/*.jpg' --confidence 0.5 --results - | jq .objects",
    "nanoseg run photos/ --results coco.json",
    "nanoseg run photos/ --results labels/ --no-boxes",
    "nanoseg run belt.mp4 --out belt-annotated.mp4 --limit 500",
    "nanoseg run belt.mp4 --out annotated --backend tensorrt",
    "nanoseg run 'parts://?seed=1&size=1280x720&objects=10' --limit 100",
)
def run(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="Image, folder, 'glob', video or parts://?seed=1&size=640x480&objects=6."
        ),
    ],
    bundle: options.BundleName = "parts",
    out: Annotated[
        Path | None,
        typer.Option(
            parser=options.output_path,
            metavar="DIR or FILE",
            help="Folder for annotated images, or for an annotated video of a video or parts://; or the file of one "
            "image or video, as its suffix says.",
        ),
    ] = None,
    results: Annotated[
        str | None,
        typer.Option(
            metavar="FILE or DIR/",
            help="File for JSON lines, one a frame; - is stdout. A .json file becomes a COCO file, a folder (existing, "
            "or with a slash at its end) labels for segmentation in YOLO's form.",
        ),
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Show each frame in a window; q ends.")] = False,
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="Maximum number of frames.")] = None,
    confidence: options.Confidence = None,
    iou: options.Iou = None,
    max_objects: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Maximum number of objects a frame, the most confident.")
    ] = None,
    classes: options.Classes = None,
    labels: Annotated[bool, typer.Option("--labels/--no-labels", help="Draw names and confidences.")] = True,
    boxes: Annotated[bool, typer.Option("--boxes/--no-boxes", help="Draw boxes.")] = True,
    masks: Annotated[bool, typer.Option("--masks/--no-masks", help="Draw masks.")] = True,
    max_pixels: options.MaxPixels = MAX_PIXELS,
    backend: options.Backend = "auto",
    engines: options.Engines = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> int:
    """Segment your own images or video.

    Without --out, --results and --show, one line a frame goes to stdout. Ctrl-C, SIGTERM and SIGHUP end the run with
    what was done so far complete; two runs cannot write one output. An image of a folder that cannot be read is
    reported on stderr and skipped ("skipped" in --json); the exit code is 3 only if none could be read. A video that
    is damaged or ends early is read as far as it goes, with a line; the exit code stays 0.
    """
    from nanoseg.commands.run import RunOptions
    from nanoseg.commands.run import run as run_source

    return run_source(
        RunOptions(
            source,
            bundle,
            out,
            results,
            show,
            limit,
            confidence=confidence,
            iou=iou,
            max_objects=max_objects,
            classes=classes.split(",") if classes is not None else None,
            labels=labels,
            boxes=boxes,
            masks=masks,
            max_pixels=max_pixels,
            json=json,
            backend=backend,
            engines=engines,
        )
    )
