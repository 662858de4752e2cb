"""Checks of a bundle's engines: not built, built for another device, damaged."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from nanoseg.bundle import EMBEDDED_BUNDLE
from nanoseg.doctor.finding import Finding
from nanoseg.doctor.state import MachineState

NOT_BUILT = "not built"  # the store's reason for a graph without an engine


def check_engines(state: MachineState) -> Iterator[Finding]:
    """Yield findings about engines; none where no engine can be built, as other checks report that."""
    bundle = state.bundle
    if not state.builds or bundle.error or state.board.supported is False:
        return
    if bundle.engines_error:
        yield Finding(
            "engines.unknown",
            "warning",
            f"the engines of the bundle {bundle.name} cannot be listed: {bundle.engines_error}",
            f"TensorRT runs no bundle; {_fallback(state)}",
            f"nanoseg info {shlex.quote(bundle.name)}",
        )
        return
    reasons = {name: str(graph["why"]) for name, graph in bundle.graphs.items() if not graph["valid"]}
    if bundle.device is None or not reasons:
        return
    if set(reasons.values()) == {NOT_BUILT} and len(reasons) == len(bundle.graphs):
        yield Finding(
            "engines.none",
            "note",
            f"no engine of the bundle {bundle.name} is built for {bundle.device}",
            f"TensorRT runs no bundle; {_fallback(state)}",
            build_command(state),
        )
        return
    listed = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    yield Finding(
        "engines.invalid",
        "warning",
        f"{len(reasons)} of the {len(bundle.graphs)} engines of the bundle {bundle.name} cannot be used here: {listed}",
        f"the bundle does not run on TensorRT, which needs all of them; {_fallback(state)}",
        build_command(state),
    )


def _fallback(state: MachineState) -> str:
    return "ONNX Runtime runs the bundle" if state.runs_on else "nothing else runs the bundle"


def build_command(state: MachineState, *flags: str) -> str:
    """Return the command that builds the bundle's engines on this machine."""
    words = ["nanoseg", "build"]
    if state.bundle.name != EMBEDDED_BUNDLE:
        words += ["--bundle", state.bundle.name]
    rtx = state.bundle.kind == "tensorrt-rtx" or "tensorrt" not in state.builds
    if rtx and "tensorrt-rtx" in state.builds:
        words += ["--target", "tensorrt-rtx"]
    return shlex.join([*words, *flags])
