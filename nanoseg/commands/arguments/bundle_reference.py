"""`nanoseg bundle reference`."""

from __future__ import annotations

from typing import Annotated

import typer

from nanoseg.commands import options
from nanoseg.commands.options import NOTHING_WRITTEN, examples, on_interrupt


@examples(
    "nanoseg bundle reference --bundle bundles/mine",
    "nanoseg bundle reference --bundle bundles/mine --images photos/",
)
def reference(
    *,
    bundle: options.BundleName,
    images: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="Folder or pattern of images; by default built-in, the first few."),
    ] = None,
    debug: options.Debug = False,
) -> None:
    """Add reference frames to a bundle made before bundles had them, or replace them.

    They are a few pictures with the objects that the bundle's graphs find in them, computed with ONNX Runtime in the
    graphs' own precisions. nanoseg bench refuses engines that find others. nanoseg bundle make writes them by itself.
    """
    with on_interrupt(NOTHING_WRITTEN):
        from nanoseg.commands.bundle.reference import reference as add_and_print

        add_and_print(bundle, images)
