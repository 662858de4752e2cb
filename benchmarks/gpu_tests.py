"""Run the tests that need a GPU, and read their results, for benchmarks/gpu.py."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from nanoseg.errors import DependencyError

ROOT = Path(__file__).resolve().parents[1]
MAX_FAILURE_LENGTH = 3000  # characters kept of each failure, from its end


def run_tests() -> dict[str, Any]:
    """Run `pytest -m gpu` in a process of its own; returns its results. Raises DependencyError without pytest."""
    if find_spec("pytest") is None:
        raise DependencyError("pytest is not installed: pip install pytest")
    with tempfile.TemporaryDirectory() as scratch:
        junit = Path(scratch, "junit.xml")
        command = [sys.executable, "-m", "pytest", "-m", "gpu", "tests", "--durations=10", f"--junitxml={junit}"]
        command.append("--continue-on-collection-errors")
        # Plugins that happen to be installed may raise warnings, and warnings are errors.
        environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        code = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
        return {"exit_code": code, **read_junit(junit)}


def read_junit(path: Path) -> dict[str, Any]:
    """Count the tests that passed, and return the reasons of those that failed or were skipped; none without a file."""
    counts: dict[str, Any] = {"passed": 0, "failed": {}, "skipped": {}}
    if not path.is_file():
        return counts
    for case in ElementTree.parse(path).getroot().iter("testcase"):
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
