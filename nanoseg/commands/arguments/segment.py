"""`nanoseg segment`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nanoseg.commands import options
from nanoseg.commands.options import examples
from nanoseg.sources.source import MAX_PIXELS


@examples(
    "nanoseg segment photo.jpg --box 120,80,430,390 --out masks",
    "nanoseg segment photo.jpg --point 260,200 --background 300,350 --out masks",
    "nanoseg segment photo.jpg --box 120,80,430,390 --point 260,200",
    "nanoseg segment photo.jpg --box 10,20,200,180 --box 240,30,400,210 --json",
    "nanoseg segment photo.jpg --bundle my-bundle --point 260,200 --out masks",
    "nanoseg segment photo.jpg --bundle my-bundle --point 260,200 --point 310,240 --mask-from masks/photo.npz",
    "nanoseg segment photo.jpg --bundle my-bundle --mask-from masks/photo.npz --out refined",
)
def segment(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="Image file; coordinates are its pixels.")],
    box: Annotated[
        list[str] | None, typer.Option(metavar="LEFT,TOP,RIGHT,BOTTOM", help="One object; may be given many times.")
    ] = None,
    point: Annotated[
        list[str] | None, typer.Option(metavar="X,Y", help="Point on the object; may be given many times.")
    ] = None,
    background: Annotated[
        list[str] | None, typer.Option(metavar="X,Y", help="Point beside the object; may be given many times.")
    ] = None,
    mask_from: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.npz",
            help="Refine the masks of an earlier --out, of this image and bundle; alone, with the prompts stored "
            "there. Needs a bundle made with --mask-prompts, which the embedded one is not.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=options.output_path,
            metavar="DIR",
            help="Folder for NAME-annotated.png, NAME-mask-0.png ... and NAME.npz.",
        ),
    ] = None,
    bundle: options.BundleName = "parts",
    all_masks: Annotated[
        bool, typer.Option("--all", help="All four masks of a prompt; needs a bundle made with --masks all.")
    ] = False,
    max_pixels: options.MaxPixels = MAX_PIXELS,
    backend: options.Backend = "auto",
    engines: options.Engines = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Segment the objects of one image that boxes, points or an earlier mask mark.

    Each --box is an object of its own. All --point and --background together are one object, or belong to the box
    where there is exactly one. Without --out, a table goes to stdout.

    Files that an earlier run wrote to --out under these names are replaced, and its further masks are removed. NAME
    is without its suffix, so photo.jpg and photo.png need a folder each.
    """
    from nanoseg.commands.segment.segment_image import SegmentOptions, segment_image

    segment_image(
        SegmentOptions(
            image,
            bundle,
            boxes=box or (),
            points=point or (),
            background=background or (),
            mask_from=mask_from,
            out=out,
            all_masks=all_masks,
            max_pixels=max_pixels,
            json=json,
            backend=backend,
            engines=engines,
        )
    )
