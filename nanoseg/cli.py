"""The verbs, and what a shell sees of an error: one line and an exit code."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

import nanoseg
from nanoseg.commands import options as flags
from nanoseg.errors import INTERRUPTED, NanosegError, one_line
from nanoseg.sources.source import MAX_PIXELS
from nanoseg.utils.terminal import configure_output, print_error, print_line

_CODES = "Exit codes: 0; 2 usage; 3 source; 4 bundle; 5 engine or device; 6 a missing library; 130 interrupted."

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog=flags.examples("nanoseg demo", "nanoseg run photos/ --out annotated", "nanoseg info parts")
    + f"\n\n{_CODES}",
)


def _version(asked: bool) -> None:
    if asked:
        print_line(f"nanoseg {nanoseg.__version__}")
        raise typer.Exit


@app.callback()
def nanoseg_(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: flags.Debug = False,
) -> None:
    """Find objects with YOLO-NAS and cut them out with NanoSAM, without torch."""


@app.command(
    epilog=flags.examples(
        "nanoseg demo",
        "nanoseg demo --out /tmp/demo --frames 50 --json",
        "nanoseg demo photos/ --bundle my-bundle --out look",
    )
)
def demo(
    source: Annotated[
        str | None,
        typer.Argument(metavar="[SOURCE]", help="Image, folder, 'glob' or video; by default the simulated line."),
    ] = None,
    bundle: Annotated[str | None, typer.Option(help="A bundle's folder; by default the embedded demo bundle.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the video, pictures, results and report.")] = Path(
        "nanoseg-demo"
    ),
    frames: Annotated[int, typer.Option(min=1, help="How many frames, at most.")] = 300,
    backend: flags.Backend = "auto",
    engines: flags.Engines = None,
    json: flags.Json = False,
    debug: flags.Debug = False,
) -> None:
    """See it work: the embedded bundle on a simulated line, measured against its truth.

    Writes annotated.mp4 (for a folder of pictures, the folder annotated), contact-sheet.png, results.jsonl and
    report.json. With a SOURCE it shows a bundle at work on what is yours; nothing tells the truth of that, so the
    report's accuracies are null.
    """
    from nanoseg.commands.demo import demo as do

    do(out, frames, json, source, bundle, backend, engines)


@app.command(
    epilog=flags.examples(
        "nanoseg run photo.jpg --out annotated",
        "nanoseg run photos/ --bundle my-bundle --results found.jsonl",
        "nanoseg run 'photos/**/*.jpg' --confidence 0.5 --results - | jq .objects",
        "nanoseg run belt.mp4 --out annotated --limit 500",
        "nanoseg run belt.mp4 --out annotated --backend tensorrt",
        "nanoseg run 'parts://?seed=1&size=1280x720&objects=10' --limit 100",
    )
)
def run(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="Image, folder, 'glob', video or parts://?seed=1&size=640x480&objects=6."
        ),
    ],
    bundle: flags.BundleName = "parts",
    out: Annotated[
        Path | None, typer.Option(help="Folder for annotated pictures, or one video of a video or parts://.")
    ] = None,
    results: Annotated[str | None, typer.Option(help="File for JSON lines, one a frame; - is stdout.")] = None,
    show: Annotated[bool, typer.Option("--show", help="Show each frame in a window; q ends.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many frames.")] = None,
    confidence: flags.Confidence = None,
    iou: flags.Iou = None,
    max_objects: Annotated[int | None, typer.Option(min=1, help="Keep so many of a frame, the most confident.")] = None,
    max_pixels: Annotated[int, typer.Option(min=1, help="Refuse larger pictures, before decoding.")] = MAX_PIXELS,
    backend: flags.Backend = "auto",
    engines: flags.Engines = None,
    json: flags.Json = False,
    debug: flags.Debug = False,
) -> None:
    """Segment your own pictures or video.

    Without --out, --results and --show, one line a frame goes to stdout. A picture of a folder that cannot be read is
    told on stderr and left out ("skipped" in --json); the exit code is 3 only if none could be. A video that breaks
    off keeps what came before, and ends with 3.
    """
    from nanoseg.commands.run import Job
    from nanoseg.commands.run import run as do

    kept = (confidence, iou, max_objects, max_pixels)
    if code := do(Job(source, bundle, out, results, show, limit, *kept, json, backend, engines)):
        raise SystemExit(code)


@app.command(
    epilog=flags.examples(
        "nanoseg segment photo.jpg --box 120,80,430,390 --out cut",
        "nanoseg segment photo.jpg --point 260,200 --background 300,350 --out cut",
        "nanoseg segment photo.jpg --box 120,80,430,390 --point 260,200",
        "nanoseg segment photo.jpg --box 10,20,200,180 --box 240,30,400,210 --json",
        "nanoseg segment photo.jpg --bundle my-bundle --point 260,200 --out cut",
        "nanoseg segment photo.jpg --bundle my-bundle --point 260,200 --point 310,240 --mask-from cut/photo.npz",
        "nanoseg segment photo.jpg --bundle my-bundle --mask-from cut/photo.npz --out finer",
    )
)
def segment(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A picture; coordinates are its pixels.")],
    box: Annotated[
        list[str] | None, typer.Option(metavar="LEFT,TOP,RIGHT,BOTTOM", help="One object; may be given many times.")
    ] = None,
    point: Annotated[
        list[str] | None, typer.Option(metavar="X,Y", help="A point of the object; may be given many times.")
    ] = None,
    background: Annotated[
        list[str] | None, typer.Option(metavar="X,Y", help="A point that is not of it; may be given many times.")
    ] = None,
    mask_from: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.npz",
            help="Refine the masks of an earlier --out, of this picture and bundle; alone, with the prompts stored "
            "there. Wants a bundle made with --mask-prompts, which the embedded one is not.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for NAME-annotated.png, NAME-mask-0.png ... and NAME.npz.")
    ] = None,
    bundle: flags.BundleName = "parts",
    all_masks: Annotated[
        bool, typer.Option("--all", help="All four masks of a prompt; wants a bundle made with --masks all.")
    ] = False,
    max_pixels: Annotated[int, typer.Option(min=1, help="Refuse a larger picture, before decoding.")] = MAX_PIXELS,
    backend: flags.Backend = "auto",
    engines: flags.Engines = None,
    json: flags.Json = False,
    debug: flags.Debug = False,
) -> None:
    """Cut out of one picture what you point at: boxes, points, an earlier mask.

    Each --box is an object of its own. All --point and --background together are one object, or belong to the box
    where there is exactly one. Without --out, a table goes to stdout.

    What an earlier run wrote to --out under these names is replaced, and masks that it had more of are removed. NAME
    is without its suffix, so photo.jpg and photo.png want a folder each.
    """
    from nanoseg.commands.segment.command import Order, cut_out

    boxes, points, no_points = box or (), point or (), background or ()
    cut_out(
        Order(image, bundle, boxes, points, no_points, mask_from, out, all_masks, max_pixels, json, backend, engines)
    )


@app.command(
    epilog=flags.examples(
        "nanoseg info parts", "nanoseg info path/to/bundle --json", "nanoseg info parts --engines /srv/engines"
    )
)
def info(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="A bundle's folder or the name of an embedded one.")],
    engines: flags.Engines = None,
    json: flags.Json = False,
    debug: flags.Debug = False,
) -> None:
    """Tell what a bundle holds, after checking every file of it, and which engines of it are valid here."""
    from nanoseg.commands.info import info as do

    do(bundle, json, engines)


@app.command(
    epilog=flags.examples(
        "nanoseg build",
        "nanoseg build --bundle my-bundle --max-frame 1920x1080 --max-objects 16",
        "nanoseg build --only detect --workspace 256 --force",
        "nanoseg build --bundle my-bundle --target tensorrt-rtx --dry-run",
    )
)
def build(
    bundle: flags.BundleName = "parts",
    target: flags.Target = None,
    engines: flags.Engines = None,
    max_frame: flags.MaxFrame = None,
    max_objects: flags.MaxObjects = None,
    workspace: flags.Workspace = None,
    only: flags.Only = None,
    force: flags.Force = False,
    dry_run: flags.DryRun = False,
    expand_int8: flags.ExpandInt8 = False,
    json: flags.Json = False,
    debug: flags.Debug = False,
) -> None:
    """Build a bundle's engines for this device with TensorRT; takes minutes, once.

    An engine that is there and valid, and built by the same recipe and flags, is left alone. How each is built says
    its recipe; engines/README.md of the repository tells of them. Ctrl-C stops, and nothing half-written is left.
    """
    from nanoseg.commands.build import command

    options = command.BuildOptions(
        bundle=bundle, target=target, engines=engines, max_frame=max_frame, max_objects=max_objects,
        workspace_mb=workspace, only=only or (), force=force, dry_run=dry_run, expand_int8=expand_int8, json=json,
    )  # fmt: skip
    if code := command.build(options):
        raise SystemExit(code)


@app.command(
    epilog=flags.examples(
        "nanoseg doctor",
        "nanoseg doctor --bundle my-bundle",
        "nanoseg doctor --self-test",
        "nanoseg doctor --json | jq .findings",
    )
)
def doctor(
    bundle: flags.WhoseEngines = "parts",
    self_test: Annotated[
        bool, typer.Option("--self-test", help="Also run the embedded bundle on one frame, and try TensorRT.")
    ] = False,
    json: flags.Json = False,
    debug: flags.Debug = False,
) -> None:
    """Tell what this machine can run, and for each thing missing what it costs and the line that mends it.

    The exit code is 0 where a bundle can run on something, 5 where nothing can run one.
    """
    from nanoseg.doctor.report import doctor as do

    if code := do(json, self_test, bundle=bundle):
        raise SystemExit(code)


def run_command(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; errors are told on stderr."""
    debug = "--debug" in arguments
    try:
        code = app(args=list(arguments) or ["--help"], prog_name="nanoseg", standalone_mode=False)
        if code == INTERRUPTED:  # so typer ends on Ctrl-C, without a word
            raise KeyboardInterrupt
    except SystemExit as ended:  # a verb that has told why
        code = ended.code
    except (KeyboardInterrupt, typer.Abort):
        print_error("interrupted")
        return INTERRUPTED
    except Exception as error:
        if debug:
            traceback.print_exc()
        return _tell(error, debug)
    return code if isinstance(code, int) else 0


def _tell(error: Exception, debug: bool) -> int:
    if isinstance(error, NanosegError):
        print_error(f"error: {error}")
        return error.exit_code
    # The parser's own errors: their base class moved from click into typer with version 0.26, this did not.
    if hasattr(error, "format_message"):
        print_error(f"error: {error.format_message()} (nanoseg --help)")
        return 2
    hint = "" if debug else "; run again with --debug to see where"
    print_error(f"error: {type(error).__name__}: {one_line(error)}{hint}")
    return 1


def main() -> None:
    """The console script."""
    configure_output()
    sys.exit(run_command(sys.argv[1:]))
