"""What `nanoseg doctor` says, for machines and for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

import nanoseg
from nanoseg.bundle import EMBEDDED_BUNDLE
from nanoseg.doctor.engine_checks import build_line, engine_findings
from nanoseg.doctor.facts import Facts, gather
from nanoseg.doctor.finding import Finding
from nanoseg.doctor.gpu_checks import gpu_findings
from nanoseg.doctor.jetson_checks import jetson_findings
from nanoseg.doctor.library_checks import library_findings
from nanoseg.doctor.machine import Machine
from nanoseg.doctor.rows import machine_name, rows
from nanoseg.doctor.self_test import SelfTest, try_out
from nanoseg.errors import EngineError
from nanoseg.utils.terminal import print_json, print_line, print_table

LEVELS = ("error", "warning", "note")


def doctor(
    as_json: bool = False, self_test: bool = False, machine: Machine | None = None, bundle: str = EMBEDDED_BUNDLE
) -> int:
    """Tell what this machine can run and why not; the exit code is 0 where a bundle can run, else 5.

    `bundle` is the one whose engines are looked for. Raises BundleError where that one cannot be opened.
    """
    machine = machine or Machine()
    facts = gather(machine, bundle)
    tried = try_out(machine, facts) if self_test else None
    found = diagnose(facts, tried)
    can_run = bool(facts.runs_on) and (tried is None or tried.passed or _says_nothing(facts, tried))
    if as_json:
        print_json(describe(facts, found, tried, can_run))
    else:
        print_table(_clean(f"nanoseg {nanoseg.__version__} on {machine_name(facts)}"), _table(facts, tried))
        for finding in found:
            print_line(_clean(f"\n{finding.level}: {finding.what}"))
            print_line(_clean(f"  costs  {finding.costs}"))
            print_line(_clean(f"  mend   {finding.mend}"))
    return 0 if can_run else EngineError.exit_code


def diagnose(facts: Facts, tried: SelfTest | None = None) -> list[Finding]:
    """Everything that is missing or wrong, the worst first."""
    found = [
        *jetson_findings(facts),
        *gpu_findings(facts),
        *engine_findings(facts),
        *library_findings(facts),
        *_test_findings(facts, tried),
    ]
    return sorted(found, key=lambda finding: LEVELS.index(finding.level))


def describe(facts: Facts, found: Sequence[Finding], tried: SelfTest | None, can_run: bool) -> dict[str, Any]:
    """What `--json` prints; keys stay, what is not known is null."""
    told = {
        "nanoseg": nanoseg.__version__,
        "can_run": can_run,
        "runs_on": facts.runs_on,
        "builds": facts.builds,
        **msgspec.to_builtins(facts),
        "findings": msgspec.to_builtins(found),
        "self_test": msgspec.to_builtins(tried),
    }
    return {name: _encodable(value) for name, value in told.items()}


def _says_nothing(facts: Facts, tried: SelfTest) -> bool:
    """Whether the self-test, which is of the embedded bundle, failed for what another may have: valid engines."""
    return facts.bundle.name != EMBEDDED_BUNDLE and not tried.bundle.ran


def _test_findings(facts: Facts, tried: SelfTest | None) -> Iterator[Finding]:
    if tried is None:
        return
    if not tried.bundle.ran:
        what, mend = f"the embedded bundle does not run here: {tried.bundle.why}", "nanoseg demo --frames 1 --debug"
        if _says_nothing(facts, tried):
            yield Finding("self_test.bundle", "warning", what, f"{facts.bundle.name} was not tried", mend)
        else:
            yield Finding("self_test.bundle", "error", what, "no bundle runs", mend)
    elif not tried.passed:
        what = f"the embedded bundle finds none of {tried.bundle.parts} parts on {tried.bundle.device}"
        costs, mend = "what is computed here is wrong", "nanoseg demo --frames 50   # and look at its pictures"
        yield Finding("self_test.wrong", "error", what, costs, mend)
    best = facts.runs_on[0] if facts.runs_on and facts.bundle.name == EMBEDDED_BUNDLE else ""
    if tried.bundle.ran and best and tried.bundle.backend != best:
        what = f"the embedded bundle ran on {tried.bundle.backend}, though {best} is there"
        mend = f"nanoseg demo --frames 1 --backend {best}   # says why"
        yield Finding("self_test.backend", "warning", what, "a frame may take longer than it has to", mend)
    for each in tried.int8_constants:
        name = f"{each.module} {each.version}"
        if each.builds is None:
            what, costs = f"{name} could not be tried: {each.why}", "it may build no engines"
            yield Finding(f"self_test.{each.module}", "warning", what, costs, build_line(facts, "--dry-run"))
        elif not each.builds:
            what = f"{name} does not build weights stored in INT8: {each.why}"
            costs = (
                "INT8 graphs build here only with their weights expanded to float32 + Q/DQ, for which onnx is wanted"
            )
            mend = build_line(facts, "--expand-int8")
            if not facts.libraries.get("onnx"):
                mend = f'pip install "nanoseg[cpu]" && {mend}'
            yield Finding(f"self_test.{each.module}", "warning", what, costs, mend)


def _table(facts: Facts, tried: SelfTest | None) -> list[tuple[str, str]]:
    return [(name, _clean(value)) for name, value in rows(facts, tried)]


def _encodable(value: Any) -> Any:
    """Without the halves of letters that stand for the undecodable bytes of a path."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {name: _encodable(each) for name, each in value.items()}
    return [_encodable(each) for each in value] if isinstance(value, (list, tuple)) else value


def _clean(line: str) -> str:
    """What a terminal would obey in the name of a camera is shown as `?`."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in line)
