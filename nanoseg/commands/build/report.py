"""The build report of `nanoseg build`, as lines of text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from nanoseg.backends.tensorrt.build.bundle import BuildStep, BuiltEngine, BundleBuilder


def overview(
    builder: BundleBuilder, steps: Sequence[BuildStep], expand_int8: bool
) -> tuple[str, list[tuple[str, str]]]:
    """Return the title and rows of the table that is printed before anything is built."""
    bundle, device = builder.bundle, builder.device
    target = f"with {builder.builder}, built and discarded" if device is None else f"for {device}"
    rows = [("folder", str(builder.store.folder(bundle.name, device)) if device else "")]
    for step in steps:
        rows.append((step.name, _settings(step, expand_int8)))
    return f"{bundle.name} {bundle.version}: engines {target}", rows


def _settings(step: BuildStep, expand_int8: bool) -> str:
    if step.existing and step.existing.record:
        return f"{step.precision}  exists, built at {step.existing.record.built_at}"
    recipe, precision = step.recipe, step.precision
    settings = [f"{recipe.workspace_mb} MB of workspace"]
    settings += [f"{name} {size.min} to {size.max}" for name, size in recipe.dimensions.items()]
    if not recipe.tf32:
        settings.append("without TF32")
    if recipe.version_compatible:
        settings.append("version-compatible")
    if expand_int8 and precision == "int8":
        settings.append("INT8 weights expanded")
    if precision != step.graph.precision:
        settings.append("without Q/DQ, as TensorRT for RTX fuses no INT8 convolution")
    if recipe.precision not in (None, step.graph.precision):
        settings.append(f"though {recipe.name} is for {recipe.precision}")
    return f"{precision}  {', '.join(settings)}"


def built_line(built: BuiltEngine) -> str:
    """Return the line that is printed when an engine is built."""
    size = f"{len(built.result.plan) / 1e6:.1f} MB"
    memory = built.result.device_memory_bytes
    activations = f", {memory / 1e6:.1f} MB of activation memory" if memory is not None else ""
    return f"  {built.step.name} built in {built.result.seconds:.1f} s: {size}{activations}"


def report(
    builder: BundleBuilder, steps: Sequence[BuildStep], built: Sequence[BuiltEngine], seconds: float
) -> dict[str, Any]:
    """Return what --json prints; all keys are always present, and unknown values are null."""
    built_by_name = {each.step.name: each for each in built}
    device = builder.device
    return {
        "bundle": builder.bundle.name,
        "version": builder.bundle.version,
        "target": builder.builder.kind,
        "tensorrt": builder.builder.version,
        "gpu": device and device.gpu,
        "folder": device and str(builder.store.folder(builder.bundle.name, device)),
        "dry_run": device is None,
        "seconds": round(seconds, 3),
        "engines": [_engine(step, built_by_name.get(step.name)) for step in steps],
    }


def _engine(step: BuildStep, built: BuiltEngine | None) -> dict[str, Any]:
    record = step.existing.record if step.existing else None
    path = built.path if built else step.existing and step.existing.path
    if built:
        result = built.result
        size, seconds, profiles = len(result.plan), round(result.seconds, 3), result.profiles
        memory = result.device_memory_bytes
    elif record:
        size, seconds, profiles, memory = record.bytes, None, record.profiles, record.device_memory_bytes
    return {
        "graph": step.name,
        "built": built is not None,
        "file": path and str(path),
        "bytes": size,
        "seconds": seconds,
        "device_memory_bytes": memory,
        "precision": step.precision,
        "recipe": str(step.recipe.path),
        "workspace_mb": step.recipe.workspace_mb,
        "tf32": step.recipe.tf32,
        "version_compatible": step.recipe.version_compatible,
        "int8_expanded": built.int8_expanded if built else None,
        "profiles": msgspec.to_builtins(profiles),
    }
