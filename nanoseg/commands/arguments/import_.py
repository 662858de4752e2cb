"""`nanoseg import`: engines built by other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nanoseg.commands import options
from nanoseg.commands.options import examples
from nanoseg.utils.terminal import print_line


@examples(
    "nanoseg import torch2trt resnet18_trt.pth --out resnet18.engine",
    "nanoseg import torch2trt pipeline.pth --module encoder --out encoder.engine",
    "nanoseg import torch2trt resnet18_trt.pth --out resnet18.engine --untried   # on a machine without TensorRT",
)
def torch2trt(
    source: Annotated[Path, typer.Argument(metavar="MODEL.pth", help="Saved state_dict of a TRTModule.")],
    *,
    out: Annotated[Path, typer.Option(metavar="X.engine", help="Engine to write.")],
    module: Annotated[
        str | None, typer.Option(metavar="PREFIX", help="Prefix of the TRTModule's keys, where the file holds several.")
    ] = None,
    untried: Annotated[
        bool, typer.Option("--untried", help="Do not load the engine: for a machine without TensorRT.")
    ] = False,
    debug: options.Debug = False,
) -> None:
    """Extract the TensorRT engine from a torch2trt file, try it on this device, and record its origin.

    The file is what torch.save writes of a TRTModule's state_dict(); it is read as data, nothing in it is executed.
    X.engine.json is written beside X.engine: sha256, inputs, outputs, origin, and what the engine was tried with. An
    engine runs on the TensorRT version and the GPU that it was built for, and on no other.
    """
    from nanoseg.models.torch2trt.import_engine import import_engine

    record = import_engine(source, out, module, untried)
    tried = f"tried with {record.tensorrt}" if record.tried else "untried"
    print_line(f"{out}: {record.bytes / 1e6:.1f} MB, {tried}")
