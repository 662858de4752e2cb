"""`nanoseg estimate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nanoseg.commands import options
from nanoseg.commands.options import examples, on_interrupt


@examples(
    "nanoseg estimate --device orin-nano-super",
    "nanoseg estimate --device agx-orin --bundle coco --objects 20 --out estimate.html",
    "nanoseg estimate --compare-devices --bundle my-bundle --objects 4",
    "nanoseg estimate --device orin-nx --layer-list --json",
)
def estimate(
    device: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Board: orin-nano, orin-nano-super, orin-nx, orin-nx-super, agx-orin-32, agx-orin or thor.",
        ),
    ] = None,
    bundle: options.BundleName = "parts",
    objects: Annotated[int, typer.Option(metavar="N", min=0, help="Objects in a frame, of 8% of it each.")] = 8,
    compare_devices: Annotated[
        bool, typer.Option("--compare-devices", help="Estimate all boards, and which reach 30 and 60 frames/s.")
    ] = False,
    layer_list: Annotated[
        bool,
        typer.Option(
            "--layer-list",
            help="Count the layers that TensorRT for RTX lists, too, which needs no GPU and takes seconds a graph.",
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=options.output_path, metavar="FILE.html", help="Page to write, with a plot of the time by layer."
        ),
    ] = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Estimate the time of a bundle's frames on a board that is not here; nothing is measured.

    A roofline by layer: multiply-adds and bytes in each layer's precision against the board's rates, and the launch of
    its kernel. Its four constants are fitted on published latencies of other networks, and the error that is printed
    is that of families of networks left out of the fit: docs/benchmark.md. The host's part is not in it.
    """
    with on_interrupt("interrupted; nothing was written"):
        from nanoseg.commands.estimate import command

        command.estimate(command.EstimateOptions(device, bundle, objects, compare_devices, layer_list, out, json))
