"""Checks of the self-test's results."""

from __future__ import annotations

from collections.abc import Iterator

from nanoseg.bundle import EMBEDDED_BUNDLE
from nanoseg.doctor.engine_checks import build_command
from nanoseg.doctor.finding import Finding
from nanoseg.doctor.self_test import Int8Test, SelfTest
from nanoseg.doctor.state import MachineState


def is_inconclusive(state: MachineState, test: SelfTest) -> bool:
    """Return whether the self-test, which runs the embedded bundle, says nothing about another bundle.

    That one may have valid engines where the embedded one cannot run at all.
    """
    return state.bundle.name != EMBEDDED_BUNDLE and not test.bundle.ran


def check_self_test(state: MachineState, test: SelfTest) -> Iterator[Finding]:
    """Yield findings about the embedded bundle's run, and about INT8 weights in TensorRT."""
    bundle = test.bundle
    if not bundle.ran:
        problem, fix = f"the embedded bundle does not run here: {bundle.reason}", "nanoseg demo --limit 1 --debug"
        if is_inconclusive(state, test):
            yield Finding("self_test.bundle", "warning", problem, f"{state.bundle.name} was not tested", fix)
        else:
            yield Finding("self_test.bundle", "error", problem, "no bundle runs", fix)
    elif not test.passed:
        problem = f"the embedded bundle finds none of {bundle.parts} parts on {bundle.device}"
        fix = "nanoseg demo --limit 50   # and look at its images"
        yield Finding("self_test.wrong", "error", problem, "results computed here are wrong", fix)
    best = state.runs_on[0] if state.runs_on and state.bundle.name == EMBEDDED_BUNDLE else ""
    if bundle.ran and best and bundle.backend != best:
        problem = f"the embedded bundle ran on {bundle.backend}, though {best} is available"
        fix = f"nanoseg demo --limit 1 --backend {best}   # prints the reason"
        yield Finding("self_test.backend", "warning", problem, "a frame may take longer than necessary", fix)
    for each in test.int8_constants:
        yield from _check_int8(state, each)


def _check_int8(state: MachineState, test: Int8Test) -> Iterator[Finding]:
    name, key = f"{test.module} {test.version}", f"self_test.{test.module}"
    if test.builds is None:
        problem = f"{name} could not be tested: {test.reason}"
        yield Finding(key, "warning", problem, "it may build no engines", build_command(state, "--dry-run"))
    elif not test.builds:
        fix = build_command(state, "--expand-int8")
        if not state.libraries.get("onnx"):
            fix = f'pip install "nanoseg[cpu]" && {fix}'
        yield Finding(
            key,
            "warning",
            f"{name} does not build weights stored in INT8: {test.reason}",
            "INT8 graphs build only with their weights expanded to float32 + Q/DQ, which needs onnx",
            fix,
        )
