"""The tests that want a GPU, run by benchmarks/gpu.py, and what came of them."""

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
LAST_WORDS = 3000  # characters kept of each failure


def run_tests() -> dict[str, Any]:
    """Run them, the contract suite's on the GPU among them, in a process of their own. Raises DependencyError."""
    if find_spec("pytest") is None:
        raise DependencyError("pytest is not installed: pip install pytest")
    with tempfile.TemporaryDirectory() as scratch:
        told = Path(scratch, "told.xml")
        words = [sys.executable, "-m", "pytest", "-m", "gpu", "tests", "--durations=10", f"--junitxml={told}"]
        words.append("--continue-on-collection-errors")
        # Plugins that happen to be there may warn of this and that, and warnings are errors.
        environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        code = subprocess.run(words, cwd=ROOT, env=environment, check=False).returncode
        return {"exit_code": code, **read_junit(told)}


def read_junit(path: Path) -> dict[str, Any]:
    """How many passed, which failed and which were left out, and why; of none at all where pytest did not end."""
    counts: dict[str, Any] = {"passed": 0, "failed": {}, "skipped": {}}
    if not path.is_file():
        return counts
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        wrong = [each for each in (case.find("failure"), case.find("error")) if each is not None]
        if wrong:
            counts["failed"][name] = (wrong[0].text or wrong[0].get("message") or "")[-LAST_WORDS:]
        elif (left := case.find("skipped")) is not None:
            counts["skipped"][name] = why_skipped(left)
        else:
            counts["passed"] += 1
    return counts


def why_skipped(left: ElementTree.Element) -> str:
    """Of a test; of a whole file pytest writes `('tests/x.py', 0, 'Skipped: needs torch')` beside what says nothing."""
    text = left.text or ""
    if text.startswith("(") and text.endswith(")"):
        _, _, why = ast.literal_eval(text)
        return str(why).removeprefix("Skipped: ")
    return left.get("message", "")
