"""Output that is lost: a full disk, a closed stream, a reader that has gone. One line, and never exit code 0."""

import os
import signal
import subprocess
import sys

import pytest

import nanoseg.cli
from nanoseg.errors import BundleError
from nanoseg.utils.streams import CLOSED_PIPE
from tests.helpers.paths import ROOT

COMMANDS = {
    "version": "-m nanoseg --version",
    "help": "-m nanoseg run --help",
    "table": "-m nanoseg info parts",
    "json": "-m nanoseg info parts --json",
    "script": "tools/fetch_weights.py --list",
}


def shell(command, redirection):
    line = f"{sys.executable} {command} {redirection}"
    return subprocess.run(["bash", "-c", line], cwd=ROOT, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize(
    ("redirection", "reason"), [(">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")]
)
def test_output_that_cannot_be_written(command, redirection, reason):
    result = shell(command, redirection)
    assert (result.returncode, result.stderr) == (2, f"nanoseg: error: stdout: cannot be written: {reason}\n")


def test_output_that_nobody_reads():
    reading, writing = os.pipe()
    os.close(reading)  # before the command writes
    result = subprocess.run(
        [sys.executable, "-m", "nanoseg", "info", "parts"], cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, timeout=60
    )
    os.close(writing)
    assert (result.returncode, result.stderr) == (CLOSED_PIPE, b"")
    assert CLOSED_PIPE == 128 + signal.SIGPIPE


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
@pytest.mark.parametrize(("command", "code"), [("--version", 0), ("info nowhere", 4), ("nosuch", 2)])
def test_errors_that_cannot_be_written_keep_their_code(command, code, redirection):
    assert shell(f"-m nanoseg {command}", redirection).returncode == code


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_not_taken_by_files(tmp_path, closed):
    """The first file that is opened would get the number of stdout, and what is printed would end in it."""
    code = (
        "import os, sys; from nanoseg.utils.terminal import configure_output; configure_output(); "
        f"sys.exit(os.open('{tmp_path / 'f'}', os.O_WRONLY | os.O_CREAT) < 3)"
    )
    assert shell(f'-c "{code}"', closed).returncode == 0


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (RecursionError("too deep"), 1, "RecursionError: too deep; this is a fault of nanoseg: run again with --debug"),
        (UnicodeDecodeError("ascii", b"\xff", 0, 1, "no"), 1, "UnicodeDecodeError: 'ascii' codec can't decode byte"),
        (OverflowError("too\nlarge"), 1, "OverflowError: too large; this is a fault of nanoseg"),
        (NotImplementedError("meta tensor"), 1, "NotImplementedError: meta tensor; this is a fault of nanoseg"),
        (MemoryError(), 5, "out of memory; free some, or give it less at once"),
        (MemoryError("8 GB"), 5, "out of memory: 8 GB; free some"),
        (PermissionError(13, "Permission denied", "a.txt"), 2, "a.txt: Permission denied"),
        (BundleError("a\nb"), 4, r"a\nb"),
    ],
)
def test_unforeseen_errors_are_one_line(monkeypatch, capsys, error, code, line):
    def app(**_):
        raise error

    monkeypatch.setattr(nanoseg.cli, "app", app)
    assert nanoseg.cli.run_command(["info"]) == code
    err = capsys.readouterr().err
    assert err.startswith(f"nanoseg: error: {line}")
    assert err.count("\n") == 1
    assert nanoseg.cli.run_command(["info", "--debug"]) == code
    assert "Traceback" in capsys.readouterr().err
