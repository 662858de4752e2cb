"""What `nanoseg build` says, for people and for machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from nanoseg.backends.tensorrt.build.builder import TARGETS
from nanoseg.backends.tensorrt.build.bundle import Done, Step, BundleBuilder


def overview(shop: BundleBuilder, steps: Sequence[Step], expand: bool) -> tuple[str, list[tuple[str, str]]]:
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


def built_line(done: Done) -> str:
    """For people, when one is built."""
    size = f"{len(done.built.plan) / 1e6:.1f} MB"
    memory = done.built.device_memory_bytes
    runs_in = f", {memory / 1e6:.1f} MB more to run in" if memory is not None else ""
    return f"  {done.step.name} built in {done.built.seconds:.1f} s: {size}{runs_in}"


def describe(shop: BundleBuilder, steps: Sequence[Step], done: Sequence[Done], seconds: float) -> dict[str, Any]:
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
