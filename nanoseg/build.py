"""`nanoseg build`: the engines of a bundle for this device."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from nanoseg.backends.builders import TARGETS, Builder, find_builder
from nanoseg.building import Done, Step, Workshop
from nanoseg.bundle import open_bundle
from nanoseg.errors import INTERRUPTED, EngineError, UsageError
from nanoseg.recipes import Changes, read_recipe
from nanoseg.store import Store
from nanoseg.terminal import complain, plural, say, say_json, say_table


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
    shop = Workshop(bundle, builder, store, device)
    started, done = time.perf_counter(), list[Done]()
    with store.building(bundle, device) if device else nullcontext():
        steps = list(shop.steps(recipes, order.force))
        to_build = [step for step in steps if not step.there]
        try:
            expand = order.expand_int8 or _must_expand(builder, to_build)
            if not order.json:
                say_table(*_plan(shop, steps, expand))
            for step in to_build:
                done.append(shop.take(step, expand))
                if not order.json:
                    say(_line(done[-1]))
        except KeyboardInterrupt:
            kept = "; what was built before is kept" if device and done else ""
            complain(f"interrupted: {len(done)} of {plural(len(to_build), 'engine')} built{kept}")
            return INTERRUPTED
    seconds = time.perf_counter() - started
    if order.json:
        say_json(_describe(shop, steps, done, seconds))
    elif done:
        end = "" if device else "; nothing was kept, as --dry-run wants it"
        say(f"{plural(len(done), 'engine')} built in {seconds:.1f} s{end}")
    else:
        say("nothing to build; --force builds anew")
    return 0


def _must_expand(builder: Builder, to_build: Sequence[Step]) -> bool:
    """Whether INT8 weights have to be floats in the file; TensorRT is asked where there are such weights."""
    return any(step.graph.precision == "int8" for step in to_build) and not builder.takes_int8_constants()


def _frame_wh(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    found = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", text)
    if not found:
        raise UsageError(f"--max-frame: wanted WIDTHxHEIGHT such as 1920x1080, got {text}")
    return int(found[1]), int(found[2])


def _plan(shop: Workshop, steps: Sequence[Step], expand: bool) -> tuple[str, list[tuple[str, str]]]:
    """Title and rows for people, before anything is built."""
    bundle, device = shop.bundle, shop.device
    target = f"with {shop.builder}, to see whether they build" if device is None else f"for {device}"
    rows = [("into", str(shop.store.folder(bundle.name, device)) if device else "")]
    for step in steps:
        rows.append((step.name, _step(step, expand)))
    return f"{bundle.name} {bundle.version}: engines {target}", rows


def _step(step: Step, expand: bool) -> str:
    if step.there and step.there.record:
        return f"{step.graph.precision}  is there, built at {step.there.record.built_at}"
    recipe, own = step.recipe, step.graph.precision
    said = [f"{recipe.workspace_mb} MB of workspace"]
    said += [f"{name} {side.min} to {side.max}" for name, side in recipe.dimensions.items()]
    if not recipe.tf32:
        said.append("without TF32")
    if recipe.version_compatible:
        said.append("version-compatible")
    if expand and own == "int8":
        said.append("INT8 weights expanded")
    if recipe.precision not in (None, own):
        said.append(f"though {recipe.name} is for {recipe.precision}")
    return f"{own}  {', '.join(said)}"


def _line(done: Done) -> str:
    size = f"{len(done.built.plan) / 1e6:.1f} MB"
    memory = done.built.device_memory_bytes
    runs_in = f", {memory / 1e6:.1f} MB more to run in" if memory is not None else ""
    return f"  {done.step.name} built in {done.built.seconds:.1f} s: {size}{runs_in}"


def _describe(shop: Workshop, steps: Sequence[Step], done: Sequence[Done], seconds: float) -> dict[str, Any]:
    """What --json prints; keys stay, what is not known is null."""
    made = {each.step.name: each for each in done}
    device = shop.device
    return {
        "bundle": shop.bundle.name,
        "version": shop.bundle.version,
        "target": next(target for target, kind in TARGETS.items() if kind == shop.builder.kind),
        "tensorrt": shop.builder.version,
        "gpu": device and device.gpu,
        "folder": device and str(shop.store.folder(shop.bundle.name, device)),
        "dry_run": device is None,
        "seconds": round(seconds, 3),
        "engines": [_engine(step, made.get(step.name)) for step in steps],
    }


def _engine(step: Step, done: Done | None) -> dict[str, Any]:
    record = step.there.record if step.there else None
    path = done.path if done else step.there and step.there.path
    if done:
        size, seconds, profiles = len(done.built.plan), round(done.built.seconds, 3), done.built.profiles
        memory = done.built.device_memory_bytes
    elif record:
        size, seconds, profiles, memory = record.bytes, None, record.profiles, record.device_memory_bytes
    return {
        "graph": step.name,
        "built": done is not None,
        "file": path and str(path),
        "bytes": size,
        "seconds": seconds,
        "device_memory_bytes": memory,
        "precision": step.graph.precision,
        "recipe": str(step.recipe.path),
        "workspace_mb": step.recipe.workspace_mb,
        "tf32": step.recipe.tf32,
        "version_compatible": step.recipe.version_compatible,
        "int8_expanded": done.expanded if done else None,
        "profiles": msgspec.to_builtins(profiles),
    }
