"""Access to a machine's files and commands for the readers; no function raises or blocks forever."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

MAX_BYTES = 64 << 20  # dpkg's status file of a full desktop is 10 MB
CHILD_S = 30.0  # the first import of a large library from an SD card is slow
_KILL_S = 1.0  # time for a killed process to end


class CommandResult(NamedTuple):
    """Output of a command."""

    stdout: str
    error: str = ""  # one line; empty where the command succeeded
    timed_out: bool = False


def run_command(command: Sequence[str], timeout_s: float) -> CommandResult:
    """Run a command without stdin, for at most `timeout_s` seconds."""
    name = Path(command[0]).name
    try:
        # In a new session, so that the command's children can be killed with it.
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env=_environment(),
        )
    except (OSError, ValueError) as error:
        return CommandResult("", f"{name}: {getattr(error, 'strerror', None) or error}")
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        _kill(process)
        return CommandResult("", f"{name}: no answer in {timeout_s:g} s", timed_out=True)
    except BaseException:
        _kill(process)
        raise
    return CommandResult(_decode(out), _failure(name, process.returncode, _decode(err)))


def installed_version(distribution: str) -> str | None:
    """Return the version of an installed Python distribution, None where it is not installed."""
    try:
        return importlib.metadata.version(distribution) if distribution else None  # Python 3.10 finds any for ""
    except Exception:  # damaged metadata raises errors of many types
        return None


@dataclass(frozen=True)
class Machine:
    """This machine, or a copy of another one's files under `root` with its own `run` and `installed`."""

    root: Path = Path("/")
    run: Callable[[Sequence[str], float], CommandResult] = run_command
    installed: Callable[[str], str | None] = installed_version

    def path(self, path: str) -> Path:
        """Return the local path of an absolute path of the machine."""
        return self.root / path.lstrip("/")

    def text(self, path: str) -> str:
        """Return a file's text, undecodable bytes replaced; empty where it cannot be read."""
        try:
            # Opening a pipe without a writer would block, and so may reading a device.
            with open(os.open(self.path(path), os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
                return _decode(file.read(MAX_BYTES)) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else ""
        except (OSError, ValueError):
            return ""

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder, in natural order; none where it cannot be read."""
        try:
            return sorted(os.listdir(self.path(folder)), key=_by_number)
        except OSError:
            return []

    def exists(self, path: str) -> bool:
        """Return whether the path exists."""
        return os.path.lexists(self.path(path))

    def python(self, *arguments: str, timeout_s: float = CHILD_S) -> dict[str, Any]:
        """Return the last JSON object that `python ARGUMENTS` prints, or {"error": reason}.

        It is for libraries that may crash or hang when they are loaded.
        """
        result = self.run([sys.executable or "python3", *arguments], timeout_s)
        for line in reversed(result.stdout.splitlines()):
            with contextlib.suppress(ValueError):
                value = json.loads(line)
                if isinstance(value, dict):
                    return value
        return {"error": result.error or "no output"}


def _environment() -> dict[str, str]:
    # Children import what this process would, in the same order, and print English.
    entries = []
    for entry in sys.path:
        with contextlib.suppress(OSError):  # the current folder may be gone
            entries.append(os.path.abspath(entry))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(entries), "PYTHONSAFEPATH": "1", "LC_ALL": "C"}


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    # A process that hangs in the kernel does not end; it is left behind.
    with contextlib.suppress(subprocess.TimeoutExpired, OSError, ValueError):
        process.communicate(timeout=_KILL_S)


def _failure(name: str, code: int, err: str) -> str:
    if code == 0:
        return ""
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"{name}: ended by {signal.Signals(-code).name}"
    last = next((line.strip() for line in reversed(err.splitlines()) if line.strip()), "")
    return f"{name}: ended with {code}" + (f": {last}" if last else "")


def _decode(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _by_number(name: str) -> tuple[str, int, str]:
    stem = name.rstrip("0123456789")
    digits = name[len(stem) :]
    return stem, int(digits) if digits.isascii() and digits else -1, name
