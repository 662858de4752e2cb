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
    "nanoseg doctor --camera rtsp://user:password@camera/stream",
    "nanoseg doctor --camera '/dev/video0?size=1280x720&fps=30'",
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
    camera: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE", help="Only try a camera or stream: read 30 frames, and tell rate, age and format."
        ),
    ] = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> int:
    """Report what this machine can run, and for each missing part its cost and the command that fixes it.

    The exit code is 0 where at least one backend can run a bundle, else 5. With --camera it is 0 where frames came,
    else 3.
    """
    if camera is not None:
        from nanoseg.doctor.camera_trial import print_camera_trial

        return print_camera_trial(camera, json)
    from nanoseg.doctor.report import doctor as print_doctor

    return print_doctor(json, self_test, bundle=bundle)
