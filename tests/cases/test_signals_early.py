"""Signals while a command is imported, and after it has ended."""

import os
import signal
import subprocess
import sys

import pytest

from nanoseg.errors import needs
from nanoseg.utils.signals import handle_ending_signals
from tests.helpers.paths import ROOT

TERM, HUP, INT = signal.SIGTERM, signal.SIGHUP, signal.SIGINT
# Runs a statement where a module is about to be imported, within exec() as dataclasses do.
SITE = """
import atexit, os, sys

class Finder:
    def find_spec(name, *_):
        if name == {module!r}:
            exec({statement!r})

sys.meta_path.insert(0, Finder)
"""


@pytest.mark.parametrize(("number", "code"), [(TERM, 143), (HUP, 129), (INT, 130)])
@pytest.mark.parametrize("module", ["typer", "rich", "nanoseg.commands.info", "nanoseg.bundle"])
def test_signals_while_a_command_is_imported(tmp_path, module, number, code):
    assert run(tmp_path, module, f"os.kill(os.getpid(), {number:d})") == (code, "nanoseg: interrupted\n")


@pytest.mark.parametrize(("number", "code"), [(TERM, 143), (HUP, 129), (INT, 130)])
def test_signals_after_the_end(tmp_path, number, code):
    assert run(tmp_path, "nanoseg.bundle", f"atexit.register(os.kill, os.getpid(), {number:d})") == (code, "")


def test_signals_while_a_compiled_module_is_imported():
    steps = []

    def import_it():
        with needs("ONNX Runtime", "cpu"):
            signal.raise_signal(TERM)
            steps.append("imported")
        steps.append("used")

    with handle_ending_signals(), pytest.raises(KeyboardInterrupt):
        import_it()
    assert steps == ["imported"]


def run(folder, module, statement):
    (folder / "sitecustomize.py").write_text(SITE.format(module=module, statement=statement))
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    ended = subprocess.run(
        [sys.executable, "-m", "nanoseg", "info", "parts"], env=environment, text=True, capture_output=True
    )
    return ended.returncode, ended.stderr
