"""Run the tests that need a GPU, and read their results, for benchmarks/gpu.py."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from nanoseg.errors import DependencyError

ROOT = Path(__file__).resolve().parents[1]
INTERRUPT_S = 20.0  # for a test to end
MAX_FAILURE_LENGTH = 3000  # characters kept of each failure, from its end


def run_tests(timeout_s: float | None = None) -> dict[str, Any]:
    """Run `pytest -m gpu` in a process of its own; returns its results, of an interrupted run those until then.

    Raises DependencyError without pytest.
    """
    if find_spec("pytest") is None:
        raise DependencyError("pytest is not installed: pip install pytest")
    with tempfile.TemporaryDirectory() as scratch:
        junit = Path(scratch, "junit.xml")
        command = [sys.executable, "-m", "pytest", "-m", "gpu", "tests", "--durations=10", f"--junitxml={junit}"]
        command.append("--continue-on-collection-errors")
        # Plugins that happen to be installed may raise warnings, and warnings are errors.
        environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        interrupted = False
        with subprocess.Popen(command, cwd=ROOT, env=environment) as process:
            try:
                process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                interrupted = True
                end(process)
        return {"exit_code": process.returncode, "interrupted": interrupted, **read_junit(junit, interrupted)}


def end(process: subprocess.Popen[bytes]) -> None:
    """Interrupt pytest, which then writes its results, or kill it where a test hangs."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(INTERRUPT_S)
    except subprocess.TimeoutExpired:
        process.kill()


def read_junit(path: Path, interrupted: bool = False) -> dict[str, Any]:
    """Count the tests that passed, and return the reasons of those that failed or were skipped; none without a file.

    The last one of an interrupted run has no result, which looks as if it had passed.
    """
    counts: dict[str, Any] = {"passed": 0, "failed": {}, "skipped": {}}
    if not path.is_file():
        return counts
    cases = list(ElementTree.parse(path).getroot().iter("testcase"))
    for case in cases[:-1] if interrupted else cases:
        name = f"{case.get('classname')}::{case.get('name')}"
        failures = [each for each in (case.find("failure"), case.find("error")) if each is not None]
        if failures:
            counts["failed"][name] = (failures[0].text or failures[0].get("message") or "")[-MAX_FAILURE_LENGTH:]
        elif (skipped := case.find("skipped")) is not None:
            counts["skipped"][name] = skip_reason(skipped)
        else:
            counts["passed"] += 1
    return counts


def skip_reason(skipped: ElementTree.Element) -> str:
    """Return the reason of a skipped test, or file: there pytest writes `('tests/x.py', 0, 'Skipped: reason')`."""
    text = skipped.text or ""
    if text.startswith("(") and text.endswith(")"):
        _, _, reason = ast.literal_eval(text)
        return str(reason).removeprefix("Skipped: ")
    return skipped.get("message", "")
