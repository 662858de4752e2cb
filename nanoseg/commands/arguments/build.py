"""`nanoseg build`."""

from __future__ import annotations

from typing import Annotated

import typer

from nanoseg.commands import options
from nanoseg.commands.options import examples


@examples(
    "nanoseg build",
    "nanoseg build --bundle my-bundle --max-frame 1920x1080 --max-objects 16",
    "nanoseg build --only detect --workspace 256 --force",
    "nanoseg build --bundle my-bundle --target tensorrt-rtx --dry-run",
)
def build(
    bundle: options.BundleName = "parts",
    target: Annotated[
        str | None,
        typer.Option(
            metavar="tensorrt|tensorrt-rtx",
            help="Library to build with; by default TensorRT, or TensorRT for RTX where only that is installed.",
        ),
    ] = None,
    engines: options.Engines = None,
    max_frame: Annotated[
        str | None,
        typer.Option(metavar="WIDTHxHEIGHT", help="Largest frame that the GPU preprocesses; by default 1920x1080."),
    ] = None,
    max_objects: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Largest batch of prompts in one decoder call; by default 8.")
    ] = None,
    workspace: Annotated[
        int | None,
        typer.Option(metavar="MB", min=1, max=1 << 20, help="Workspace of the builder; by default as the recipes say."),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="GRAPH", help="Build only this graph; may be given many times.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Rebuild engines that exist and are valid.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Build and discard the engines; with tensorrt-rtx this needs no GPU.")
    ] = False,
    expand_int8: Annotated[
        bool,
        typer.Option(
            "--expand-int8", help="Store INT8 weights as float32 with Q/DQ; by default only where TensorRT needs it."
        ),
    ] = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> int:
    """Build a bundle's engines for this device with TensorRT; takes minutes, once.

    An engine that exists, is valid and was built with the same recipe and flags is kept. Ctrl-C stops the build and
    leaves no half-written engine.
    """
    from nanoseg.commands.build import command

    return command.build(
        command.BuildOptions(
            bundle=bundle,
            target=target,
            engines=engines,
            max_frame=max_frame,
            max_objects=max_objects,
            workspace_mb=workspace,
            only=only or (),
            force=force,
            dry_run=dry_run,
            expand_int8=expand_int8,
            json=json,
        )
    )
