"""`nanoseg demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nanoseg.commands import options
from nanoseg.commands.options import examples


@examples(
    "nanoseg demo",
    "nanoseg demo --out /tmp/demo --limit 50 --json",
    "nanoseg demo photos/ --bundle my-bundle --out look",
)
def demo(
    source: Annotated[
        str | None,
        typer.Argument(metavar="SOURCE", help="Image, folder, 'glob' or video; by default the simulated line."),
    ] = None,
    bundle: Annotated[
        str | None,
        typer.Option(metavar="BUNDLE", help="Folder of a bundle, or its name: parts, or coco; by default parts."),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            parser=options.output_path, metavar="DIR", help="Folder for the video, images, results and report."
        ),
    ] = Path("nanoseg-demo"),
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="Maximum number of frames.")] = 300,
    backend: options.Backend = "auto",
    engines: options.Engines = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Run the embedded bundle on a simulated line and measure it against the ground truth.

    Writes annotated.mp4 (for a folder of images, the folder annotated), contact-sheet.png, results.jsonl and
    report.json. With a SOURCE it runs a bundle on your own images, without ground truth: the accuracies in the report
    are null. Interrupted, it writes the report of what was done. In its folder it replaces another demo's results, and
    refuses to replace those of other runs.
    """
    from nanoseg.commands.demo import demo as run_demo

    run_demo(out, limit, json, source, bundle, backend, engines)
