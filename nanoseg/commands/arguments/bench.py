"""`nanoseg bench`, `nanoseg bench compare` and `nanoseg bench verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nanoseg.commands import options
from nanoseg.commands.options import examples, on_interrupt
from nanoseg.errors import UsageError

_INTERRUPTED = "interrupted; nothing was written"
_OF_TURNS = ("backend", "engines", "objects", "frame", "queries")


def _is_given(context: typer.Context, name: str) -> bool:
    return getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"


@examples(
    "nanoseg bench",
    "nanoseg bench --quick --objects 4",
    "nanoseg bench --bundle mine --frame 1280x720 --frame 1920x1080 --out results",
    "nanoseg bench --source csi://0 --out results   # from the capture of a frame to its masks",
    "nanoseg bench compare before/bench.json after/bench.json",
    "nanoseg bench verify results/bench.json",
)
def bench(
    context: typer.Context,
    bundle: options.BundleName = "parts",
    backend: options.Backend = "auto",
    engines: options.Engines = None,
    objects: Annotated[
        str, typer.Option(metavar="N,...", help="Numbers of objects: so many boxes are segmented in each frame.")
    ] = "1,4,8,16",
    frame: Annotated[
        list[str] | None, typer.Option(metavar="WxH", help="Size of the frames; may be repeated; by default 640x480.")
    ] = None,
    queries: Annotated[
        int | None, typer.Option(metavar="N", min=24, help="Frames of each configuration, at least; by default 1024.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0, max=86400, help="Seconds of each configuration, at least; by default 10.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="64 frames of each: a first look; the report says so.")
    ] = False,
    source: Annotated[
        str | None,
        typer.Option(metavar="CAMERA", help="Camera or stream, measured from capture, with the objects it shows."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(parser=options.output_path, metavar="DIR", help="Folder for bench.json and bench.html."),
    ] = None,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Exit with 0 where the run is not valid; the report stays marked.")
    ] = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Measure latency: from a frame in memory to raster masks in memory, by stage, with the board's state.

    The detector and its NMS run as always; then the given number of fixed boxes, of 8 % of the frame each, is
    segmented, whatever was found. Stages are what the host waits for: prepare, detect, embed, segment, and masks, the
    pixels of every mask. "call" is frame by frame, "stream" the time from one frame's masks to the next one's.

    First the engines answer on the bundle's reference frames: wrong answers end the run with exit code 5. A run during
    which the machine throttled, or whose last three windows of latencies are not within 10 % of each other, is not
    valid: the reason is printed, the report is marked, and the exit code is 5; --anyway makes it 0.
    """
    if (verb := context.invoked_subcommand) is not None:
        for name in context.params:
            if _is_given(context, name):
                raise UsageError(f"nanoseg bench {verb}: its options come behind it, got --{name} before")
        return
    with on_interrupt(_INTERRUPTED):
        from nanoseg.commands.bench.run import BenchArguments
        from nanoseg.commands.bench.run import bench as run_bench

        run_bench(
            BenchArguments(
                bundle=bundle,
                backend=backend,
                engines=engines,
                objects=objects,
                sizes=tuple(frame or ("640x480",)),
                queries=queries,
                seconds=seconds,
                quick=quick,
                source=source,
                out=out,
                anyway=anyway,
                json=json,
            )
        )


@examples(
    "nanoseg bench compare before/bench.json after/bench.json",
    "nanoseg bench compare before/bench.json after/bench.json --out comparison",
    "nanoseg bench compare --interleaved bundles/one bundles/other --objects 4",
)
def compare(
    context: typer.Context,
    *,
    first: Annotated[str, typer.Argument(metavar="FIRST", help="A report, or with --interleaved a bundle.")],
    second: Annotated[str, typer.Argument(metavar="SECOND", help="The other, which is called slower or faster.")],
    interleaved: Annotated[
        bool, typer.Option("--interleaved", help="Run two bundles here, in turns, and compare pairs of frames.")
    ] = False,
    backend: options.Backend = "auto",
    engines: options.Engines = None,
    objects: Annotated[str, typer.Option(metavar="N,...", help="Numbers of objects, with --interleaved.")] = "4",
    frame: Annotated[str, typer.Option(metavar="WxH", help="Size of the frames, with --interleaved.")] = "640x480",
    queries: Annotated[int, typer.Option(metavar="N", min=24, help="Pairs of frames, with --interleaved.")] = 256,
    out: Annotated[
        Path | None,
        typer.Option(parser=options.output_path, metavar="DIR", help="Folder for compare.html."),
    ] = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Compare two reports of nanoseg bench, or two bundles in turns, by ratios with confidence intervals.

    "slower" and "faster" stand only where the interval leaves 1 out. The intervals hold for all rows together in 95 of
    100 comparisons; they allow for successive latencies being correlated. Two runs at different times also differ by
    what else the machine did: --interleaved runs both within the same seconds.
    """
    if not interleaved and (given := [name for name in _OF_TURNS if _is_given(context, name)]):
        raise UsageError(f"nanoseg bench compare: --{given[0]} is for --interleaved; reports have their own")
    with on_interrupt(_INTERRUPTED):
        from nanoseg.commands.bench.compare import compare_bundles, compare_files

        if interleaved:
            compare_bundles(first, second, backend, engines, objects, frame, queries, out, json)
        else:
            compare_files(Path(first), Path(second), out, json)


@examples("nanoseg bench verify results/bench.json")
def verify(
    *,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The bench.json of nanoseg bench.")],
    json: options.Json = False,
    debug: options.Debug = False,
) -> int:
    """Check a report: whether its content is what was written, and whether the run was valid.

    The sha256 in it shows any change, but is no signature. Exit code 0: intact and valid; 2: changed; 5: intact, of a
    run that is not valid.
    """
    from nanoseg.commands.bench.verify import verify as verify_and_print

    return verify_and_print(file, json)
