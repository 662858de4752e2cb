"""`nanoseg run`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nanoseg.commands import options
from nanoseg.commands.options import TrackerChoice, examples
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
    "nanoseg run /dev/video0 --show",
    "nanoseg run rtsp://door/stream rtsp://yard/stream --out recordings --results found.jsonl --rotate 10min",
    "nanoseg run 'csi://0?size=1280x720&fps=30' --results - --deadline-ms 33",
    "nanoseg run belt.mp4 --track --out tracked.mp4 --results tracks.jsonl",
    "nanoseg run rtsp://door/stream --tracker mcbyte --detect-every 3 --results -",
    "nanoseg run 'parts://?seed=1&size=1280x720&objects=10' --limit 100",
)
def run(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Images, folders or 'globs'; a video or parts://?seed=1&size=640x480&objects=6; or one or several "
            "live sources: /dev/video0, csi://0, rtsp://..., and with --live any other.",
        ),
    ],
    bundle: options.BundleName = "parts",
    out: Annotated[
        Path | None,
        typer.Option(
            parser=options.output_path,
            metavar="DIR or FILE",
            help="Folder for annotated images, or for an annotated video of a video, of parts://, or of each live "
            "source (DIR/NAME.mp4); or the file of one image or video, as its suffix says.",
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
    show: Annotated[
        bool, typer.Option("--show", help="Show each frame in a window, one for each live source; q ends.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Maximum number of frames, over all sources.")
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Read any source at its own pace, the newest frame each time, as a camera.")
    ] = False,
    rotate: Annotated[
        str | None,
        typer.Option(
            metavar="TIME or SIZE",
            help="Start new files of a live source so often (30s, 10min, 1h) or at that size (100MB): "
            "found-20261129T051800Z.jsonl, by the time of the first frame, UTC.",
        ),
    ] = None,
    deadline_ms: Annotated[
        float | None,
        typer.Option(
            metavar="MS",
            min=1,
            max=86_400_000,
            help="Shed work so that frames of live sources are finished within so many milliseconds of their capture: "
            "first the least confident objects, then every second detection, then frames.",
        ),
    ] = None,
    track: Annotated[
        bool, typer.Option("--track", help="Give objects identities over the frames of a source: track_id.")
    ] = False,
    tracker: Annotated[
        TrackerChoice | None,
        typer.Option(help="The tracker of --track: bytetrack by default; mcbyte also looks at masks."),
    ] = None,
    detect_every: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            help="With --track, detect on one of N frames; on the others the tracker's boxes are segmented, and "
            "corrected by their masks.",
        ),
    ] = 1,
    confidence: options.Confidence = None,
    iou: options.Iou = None,
    nms: options.Nms = None,
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

    Without --out, --results and --show, one line a frame goes to stdout. Of live sources a line about all goes to
    stderr, each second on a terminal, else every ten seconds. Ctrl-C, SIGTERM and SIGHUP end the run with what was done
    so far complete; two runs cannot write one output. An image of a folder that cannot be read is reported on stderr
    and skipped ("skipped" in --json); the exit code is 3 only if none could be read. A video that is damaged or ends
    early is read as far as it goes, with a line; the exit code stays 0. A live source that is lost is opened again, for
    ever; the exit code is 3 if none gives a frame within 30 s of the start. What a slow disk or window does not take in
    time is left out and counted.
    """
    from nanoseg.commands.run import run as run_source
    from nanoseg.commands.run_options import RunOptions

    return run_source(
        RunOptions(
            sources,
            bundle,
            out,
            results,
            show,
            limit,
            confidence=confidence,
            iou=iou,
            nms=None if nms is None else nms.value,
            max_objects=max_objects,
            classes=classes.split(",") if classes is not None else None,
            labels=labels,
            boxes=boxes,
            masks=masks,
            max_pixels=max_pixels,
            json=json,
            backend=backend,
            engines=engines,
            live=live,
            rotate=rotate,
            deadline_ms=deadline_ms,
            track=tracker.value if tracker is not None else "bytetrack" if track else None,
            detect_every=detect_every,
        )
    )
