"""Flags that several verbs have, and those of `nanoseg build`, as typer reads them off a signature."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, for machines.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
BundleName = Annotated[str, typer.Option(help="A bundle's folder or the name of an embedded one.")]
WhoseEngines = Annotated[
    str, typer.Option(help="Whose engines to look for: a bundle's folder or the name of an embedded one.")
]
Confidence = Annotated[
    float | None, typer.Option(min=0, max=1, help="Least confidence of a box; by default the bundle's.")
]
Iou = Annotated[
    float | None, typer.Option(min=0, max=1, help="Overlap above which the less confident of two boxes goes.")
]
Engines = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Folder of built engines; by default $NANOSEG_ENGINES, a checkout's, or the user's cache."
    ),
]
Backend = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="What runs it: auto, onnxruntime, onnxruntime-cuda, onnxruntime-tensorrt, or tensorrt, which takes the "
        "engines that nanoseg build made. auto is tensorrt where they are all there, else ONNX Runtime.",
    ),
]
Target = Annotated[
    str | None,
    typer.Option(
        metavar="tensorrt|tensorrt-rtx", help="What builds; by default TensorRT, or that for RTX where it is alone."
    ),
]
MaxFrame = Annotated[
    str | None,
    typer.Option(metavar="WIDTHxHEIGHT", help="The largest frame that the GPU prepares; by default 3840x2160."),
]
MaxObjects = Annotated[int | None, typer.Option(min=1, help="Most objects in one call of the decoder; by default 8.")]
Workspace = Annotated[
    int | None,
    typer.Option(metavar="MB", min=1, max=1 << 20, help="What the builder may use; by default as the recipes say."),
]
Only = Annotated[list[str] | None, typer.Option(metavar="GRAPH", help="Only this one; may be given many times.")]
Force = Annotated[bool, typer.Option("--force", help="Build those anew that are there and valid.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Build and throw away; with tensorrt-rtx this needs no GPU.")]
ExpandInt8 = Annotated[
    bool,
    typer.Option("--expand-int8", help="Give TensorRT INT8 weights as floats; without it, it is asked what it takes."),
]


def examples(*lines: str) -> str:
    """An epilog of command lines; \\b keeps click from joining them."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
