"""`nanoseg build`: the engines of a bundle for this device."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from nanoseg.backends.tensorrt.build.builder import TARGETS, Builder, find_builder
from nanoseg.commands.build.report import built_line, describe, overview
from nanoseg.backends.tensorrt.build.bundle import Done, Step, BundleBuilder
from nanoseg.bundle import open_bundle
from nanoseg.errors import INTERRUPTED, EngineError, UsageError
from nanoseg.engines.recipe import Changes, read_recipe
from nanoseg.engines import Store
from nanoseg.utils.terminal import print_error, plural, print_line, print_json, print_table


@dataclass(frozen=True)
class Order:
    """What `nanoseg build` was asked for; see its flags."""

    bundle: str = "parts"
    target: str | None = None  # one of TARGETS; None: the one that is installed
    engines: Path | None = None
    max_frame: str | None = None  # WIDTHxHEIGHT
    max_objects: int | None = None
    workspace_mb: int | None = None
    only: Sequence[str] = ()
    force: bool = False
    dry_run: bool = False
    expand_int8: bool = False
    json: bool = False


def build(order: Order, builder: Builder | None = None) -> int:
    """Build what is not there yet and return the exit code; `builder` is for those who have found one.

    Raises UsageError, BundleError, DependencyError without TensorRT, and EngineError where an engine cannot be built
    or written. Engines that were built before that, or before Ctrl-C, stay.
    """
    if order.target is not None and order.target not in TARGETS:
        raise UsageError(f"--target: wanted {' or '.join(TARGETS)}, got {order.target}")
    changes = Changes(order.workspace_mb, _frame_wh(order.max_frame), order.max_objects)
    bundle = open_bundle(order.bundle)
    if unknown := [name for name in order.only if name not in bundle.graphs]:
        raise UsageError(f"--only: {bundle.name} has no graph {unknown[0]}; its graphs are {', '.join(bundle.graphs)}")
    store = Store(order.engines)
    wanted = [name for name in bundle.graphs if not order.only or name in order.only]
    recipes = {name: read_recipe(name, store.root, changes) for name in wanted}
    builder = builder or find_builder(order.target)
    device, why = (None, "") if order.dry_run else builder.device()
    if device is None and not order.dry_run:
        raise EngineError(
            f"{bundle.name}: no engine can be built here: {why}; whether its graphs build can be seen without a GPU: "
            "--target tensorrt-rtx --dry-run"
        )
    shop = BundleBuilder(bundle, builder, store, device)
    started, done = time.perf_counter(), list[Done]()
    with store.building(bundle, device) if device else nullcontext():
        steps = list(shop.steps(recipes, order.force))
        to_build = [step for step in steps if not step.there]
        try:
            refused = "" if order.expand_int8 else _why_no_int8(builder, to_build)
            expand = order.expand_int8 or bool(refused)
            if not order.json:
                print_table(*overview(shop, steps, expand))
                if refused:
                    print_line(f"  {builder} does not build weights stored in INT8: {refused}")
            for step in to_build:
                done.append(shop.make(step, expand))
                if not order.json:
                    print_line(built_line(done[-1]))
        except KeyboardInterrupt:
            kept = "; what was built before is kept" if device and done else ""
            print_error(f"interrupted: {len(done)} of {plural(len(to_build), 'engine')} built{kept}")
            return INTERRUPTED
    seconds = time.perf_counter() - started
    if order.json:
        print_json(describe(shop, steps, done, seconds))
    elif done:
        end = "" if device else "; nothing was kept, as --dry-run wants it"
        print_line(f"{plural(len(done), 'engine')} built in {seconds:.1f} s{end}")
    else:
        print_line("nothing to build; --force builds anew")
    return 0


def _why_no_int8(builder: Builder, to_build: Sequence[Step]) -> str:
    """Why INT8 weights have to be floats in the file, if so; TensorRT is asked where there are such weights."""
    return builder.why_no_int8_constants() if any(step.graph.precision == "int8" for step in to_build) else ""


def _frame_wh(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    found = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", text)
    if not found:
        raise UsageError(f"--max-frame: wanted WIDTHxHEIGHT such as 1920x1080, got {text}")
    return int(found[1]), int(found[2])
