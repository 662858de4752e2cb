"""What to mend about engines: not built, built for something else, damaged."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from nanoseg.bundle import EMBEDDED_BUNDLE
from nanoseg.doctor.facts import Facts
from nanoseg.doctor.finding import Finding

NOT_BUILT = "not built"  # as the store says it of a graph that has no engine at all


def engine_findings(facts: Facts) -> Iterator[Finding]:
    """Nothing where no engine can be built: what is missing for that is told by others."""
    bundle = facts.bundle
    if not facts.builds or bundle.error or facts.board.supported is False:
        return
    if bundle.engines_error:
        what = f"whether the bundle {bundle.name} has engines is not known: {bundle.engines_error}"
        costs = f"TensorRT has nothing to run; {_without(facts)}"
        yield Finding("engines.unknown", "warning", what, costs, f"nanoseg info {shlex.quote(bundle.name)}")
        return
    whys = {name: str(graph["why"]) for name, graph in bundle.graphs.items() if not graph["valid"]}
    if bundle.device is None or not whys:
        return
    if set(whys.values()) == {NOT_BUILT} and len(whys) == len(bundle.graphs):
        what = f"no engine of the bundle {bundle.name} is built for {bundle.device}"
        costs = f"TensorRT has nothing to run; {_without(facts)}"
        yield Finding("engines.none", "note", what, costs, build_line(facts))
        return
    told = "; ".join(f"{name}: {why}" for name, why in whys.items())
    what = f"{len(whys)} of the {len(bundle.graphs)} engines of the bundle {bundle.name} cannot be used here: {told}"
    costs = f"the bundle does not run on TensorRT, which wants all of them; {_without(facts)}"
    yield Finding("engines.invalid", "warning", what, costs, build_line(facts))


def _without(facts: Facts) -> str:
    return "ONNX Runtime runs the bundle without" if facts.runs_on else "nothing else runs the bundle"


def build_line(facts: Facts, *flags: str) -> str:
    """The command that builds the bundle's engines on this machine."""
    words = ["nanoseg", "build"]
    if facts.bundle.name != EMBEDDED_BUNDLE:
        words += ["--bundle", facts.bundle.name]
    rtx = facts.bundle.kind == "tensorrt-rtx" or "tensorrt" not in facts.builds
    if rtx and "tensorrt-rtx" in facts.builds:
        words += ["--target", "tensorrt-rtx"]
    return shlex.join([*words, *flags])
