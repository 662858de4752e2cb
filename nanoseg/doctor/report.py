"""The report of `nanoseg doctor`, as text or as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

import nanoseg
from nanoseg.bundle import EMBEDDED_BUNDLE
from nanoseg.doctor.engine_checks import check_engines
from nanoseg.doctor.finding import Finding
from nanoseg.doctor.gpu_checks import check_gpu
from nanoseg.doctor.jetson_checks import check_jetson
from nanoseg.doctor.library_checks import check_libraries
from nanoseg.doctor.machine import Machine
from nanoseg.doctor.self_test import SelfTest, run_self_test
from nanoseg.doctor.self_test_checks import check_self_test, is_inconclusive
from nanoseg.doctor.state import MachineState, read_state
from nanoseg.doctor.table import machine_name, table_rows
from nanoseg.errors import EngineError
from nanoseg.utils.terminal import print_json, print_line, print_table

LEVELS = ("error", "warning", "note")


def doctor(
    as_json: bool = False, self_test: bool = False, machine: Machine | None = None, bundle: str = EMBEDDED_BUNDLE
) -> int:
    """Print what this machine can run and what is missing.

    Args:
        as_json: Print one JSON document instead of text.
        self_test: Also run the embedded bundle and try TensorRT's builder.
        machine: The machine to look at; by default this one.
        bundle: The bundle whose engines are looked for.

    Returns:
        The exit code: 0 where a bundle can run, else 5.

    Raises:
        BundleError: A bundle other than the embedded one cannot be opened.
    """
    machine = machine or Machine()
    state = read_state(machine, bundle)
    test = run_self_test(machine, state) if self_test else None
    findings = diagnose(state, test)
    can_run = bool(state.runs_on) and (test is None or test.passed or is_inconclusive(state, test))
    if as_json:
        print_json(describe(state, findings, test, can_run))
    else:
        print_table(f"nanoseg {nanoseg.__version__} on {machine_name(state)}", table_rows(state, test))
        for finding in findings:
            print_line("")
            print_line(f"{finding.level}: {finding.problem}")
            print_line(f"  effect  {finding.effect}")
            print_line(f"  fix     {finding.fix}")
    return 0 if can_run else EngineError.exit_code


def diagnose(state: MachineState, test: SelfTest | None = None) -> list[Finding]:
    """Return everything that is missing or wrong, the worst first."""
    findings = [*check_jetson(state), *check_gpu(state), *check_engines(state), *check_libraries(state)]
    if test is not None:
        findings += check_self_test(state, test)
    return sorted(findings, key=lambda finding: LEVELS.index(finding.level))


def describe(state: MachineState, findings: Sequence[Finding], test: SelfTest | None, can_run: bool) -> dict[str, Any]:
    """Return the document of `--json`; its keys are stable, unknown values are null."""
    return {
        "nanoseg": nanoseg.__version__,
        "can_run": can_run,
        "runs_on": state.runs_on,
        "builds": state.builds,
        **msgspec.to_builtins(state),
        "findings": msgspec.to_builtins(findings),
        "self_test": msgspec.to_builtins(test),
    }
