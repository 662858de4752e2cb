"""`nanoseg doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from nanoseg.commands import options
from nanoseg.commands.options import examples


@examples(
    "nanoseg doctor",
    "nanoseg doctor --bundle my-bundle",
    "nanoseg doctor --self-test",
    "nanoseg doctor --json | jq .findings",
)
def doctor(
    bundle: Annotated[
        str,
        typer.Option(metavar="BUNDLE", help="Bundle whose engines are checked: a folder, or its name: parts, or coco."),
    ] = "parts",
    self_test: Annotated[
        bool, typer.Option("--self-test", help="Also run the embedded bundle on one frame, and try TensorRT.")
    ] = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> int:
    """Report what this machine can run, and for each missing part its cost and the command that fixes it.

    The exit code is 0 where at least one backend can run a bundle, else 5.
    """
    from nanoseg.doctor.report import doctor as print_doctor

    return print_doctor(json, self_test, bundle=bundle)
