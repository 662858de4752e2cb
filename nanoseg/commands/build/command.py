"""`nanoseg build`: build a bundle's engines for this device."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from nanoseg.backends.tensorrt.build.builder import Builder, find_builder
from nanoseg.backends.tensorrt.build.bundle import BuildStep, BuiltEngine, BundleBuilder
from nanoseg.bundle import open_bundle
from nanoseg.bundle.manifest import INSTEAD
from nanoseg.commands.build.progress_bar import build_bar
from nanoseg.commands.build.report import built_line, overview, report
from nanoseg.engines import EngineStore
from nanoseg.engines.device import BUILDERS, Kind
from nanoseg.engines.recipe import RecipeOverrides, read_recipe
from nanoseg.errors import INTERRUPTED, EngineError, UsageError
from nanoseg.utils.terminal import plural, print_error, print_json, print_line, print_table


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """The flags of `nanoseg build`."""

    bundle: str = "parts"
    target: str | None = None  # one of BUILDERS; None: the first that is installed
    engines: Path | None = None
    max_frame: str | None = None  # WIDTHxHEIGHT
    max_objects: int | None = None
    workspace_mb: int | None = None
    only: Sequence[str] = ()
    force: bool = False
    dry_run: bool = False
    expand_int8: bool = False
    json: bool = False


def build(options: BuildOptions, builder: Builder | None = None) -> int:
    """Build the engines that the store lacks, and print a report.

    Engines that were built before an error, or before Ctrl-C, are kept.

    Args:
        options: the flags.
        builder: the TensorRT to build with; by default the one that options.target names.

    Returns:
        The exit code.

    Raises:
        UsageError, BundleError: for wrong options and bundles.
        DependencyError: without TensorRT.
        EngineError: where an engine cannot be built or written.
    """
    target = _parse_target(options.target)
    overrides = RecipeOverrides(options.workspace_mb, _parse_frame_wh(options.max_frame), options.max_objects)
    bundle = open_bundle(options.bundle)
    if unknown := [name for name in options.only if name not in bundle.graphs]:
        raise UsageError(f"--only: {bundle.name} has no graph {unknown[0]}; its graphs are {', '.join(bundle.graphs)}")
    store = EngineStore(options.engines)
    wanted = [name for name in bundle.graphs if not options.only or name in options.only]
    recipes = {name: read_recipe(name, store.root, overrides) for name in wanted}
    builder = builder or find_builder(target)
    device, reason = (None, "") if options.dry_run else builder.device()
    if device is None and not options.dry_run:
        raise EngineError(
            f"{bundle.name}: no engine can be built here: {reason}; to check its graphs without a GPU: "
            "--target tensorrt-rtx --dry-run"
        )
    bundle_builder = BundleBuilder(bundle, builder, store, device)
    started, built = time.perf_counter(), list[BuiltEngine]()
    with store.build_lock(bundle, device) if device else nullcontext():
        steps = list(bundle_builder.steps(recipes, options.force))
        to_build = [step for step in steps if not step.existing]
        try:
            refusal = "" if options.expand_int8 else _int8_refusal(builder, to_build)
            expand_int8 = options.expand_int8 or bool(refusal)
            if not options.json:
                print_table(*overview(bundle_builder, steps, expand_int8))
                if refusal:
                    print_line(f"  {builder} does not build weights stored in INT8: {refusal}")
            for step in to_build:
                try:
                    with build_bar(step.name) as progress:
                        built.append(bundle_builder.build(step, expand_int8=expand_int8, progress=progress))
                except EngineError as error:
                    if step.name not in INSTEAD or options.only or options.dry_run:
                        raise
                    print_error(f"{error}; {INSTEAD[step.name]}")
                    continue
                if not options.json:
                    print_line(built_line(built[-1]))
        except KeyboardInterrupt:
            kept = "; the engines built before are kept" if device and built else ""
            print_error(f"interrupted: {len(built)} of {plural(len(to_build), 'engine')} built{kept}")
            return INTERRUPTED
    seconds = time.perf_counter() - started
    if options.json:
        print_json(report(bundle_builder, steps, built, seconds))
    elif built:
        end = "" if device else "; nothing was kept, because of --dry-run"
        print_line(f"{plural(len(built), 'engine')} built in {seconds:.1f} s{end}")
    else:
        print_line("nothing to build: all engines are valid; --force rebuilds them")
    return 0


def _int8_refusal(builder: Builder, to_build: Sequence[BuildStep]) -> str:
    """Return why INT8 weights must be expanded, if so; TensorRT is only tried where a graph has such weights."""
    return builder.int8_weights_refusal() if any(step.precision == "int8" for step in to_build) else ""


def _parse_target(text: str | None) -> Kind | None:
    if text is None:
        return None
    for kind in BUILDERS:
        if kind == text:
            return kind
    raise UsageError(f"--target: wanted {' or '.join(BUILDERS)}, got {text}")


def _parse_frame_wh(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", text)
    if not match:
        raise UsageError(f"--max-frame: wanted WIDTHxHEIGHT such as 1920x1080, got {text}")
    return int(match[1]), int(match[2])
