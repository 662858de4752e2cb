"""What the readers look at: a tree of files and the commands of a machine. Nothing here raises or waits for ever."""

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
CHILD_S = 30.0  # the first import of a large library from an SD card takes its time
_LAST_WORDS_S = 1.0


class Answer(NamedTuple):
    """What a command said; `why` is one line where it was not there, failed or did not end."""

    out: str
    why: str = ""
    hung: bool = False


def run_command(command: Sequence[str], timeout_s: float) -> Answer:
    """Run a command without a terminal, for `timeout_s` at most."""
    name = Path(command[0]).name
    try:
        # A session of its own, so that what the command has started goes with it.
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env=_environment(),
        )
    except (OSError, ValueError) as error:
        return Answer("", f"{name}: {getattr(error, 'strerror', None) or error}")
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        _end(process)
        return Answer("", f"{name}: no answer in {timeout_s:g} s", hung=True)
    except BaseException:
        _end(process)
        raise
    return Answer(_decode(out), _why(name, process.returncode, _decode(err)))


def installed_version(distribution: str) -> str | None:
    """The version of an installed Python distribution."""
    try:
        return importlib.metadata.version(distribution)
    except Exception:  # missing, or its metadata is damaged in one of many ways
        return None


@dataclass(frozen=True)
class Machine:
    """This machine, or the copy of one under `root` with the answers of `run` and `installed`."""

    root: Path = Path("/")
    run: Callable[[Sequence[str], float], Answer] = run_command
    installed: Callable[[str], str | None] = installed_version

    def path(self, path: str) -> Path:
        """Where an absolute path of the machine lies here."""
        return self.root / path.lstrip("/")

    def text(self, path: str) -> str:
        """A file's text, whatever its encoding; empty where it cannot be read."""
        try:
            # Opening a pipe that nobody writes to would wait for ever, and so may reading a device.
            with open(os.open(self.path(path), os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
                return _decode(file.read(MAX_BYTES)) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else ""
        except (OSError, ValueError):
            return ""

    def names(self, folder: str) -> list[str]:
        """The names in a folder, sorted, numbers by their value; none where it cannot be read."""
        try:
            return sorted(os.listdir(self.path(folder)), key=_by_number)
        except OSError:
            return []

    def exists(self, path: str) -> bool:
        """Whether there is something at a path."""
        return os.path.lexists(self.path(path))

    def python(self, *arguments: str, timeout_s: float = CHILD_S) -> dict[str, Any]:
        """The JSON object that `python ARGUMENTS` printed last, or {"error": why}.

        What may crash or hang when it is loaded is asked in a process of its own.
        """
        answer = self.run([sys.executable or "python3", *arguments], timeout_s)
        for line in reversed(answer.out.splitlines()):
            with contextlib.suppress(ValueError):
                said = json.loads(line)
                if isinstance(said, dict):
                    return said
        return {"error": answer.why or "it said nothing"}


def _environment() -> dict[str, str]:
    # Children find what this process finds, in the same order; and answer in English.
    entries = []
    for entry in sys.path:
        with contextlib.suppress(OSError):  # the current folder may be gone
            entries.append(os.path.abspath(entry))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(entries), "PYTHONSAFEPATH": "1", "LC_ALL": "C"}


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    # A process that hangs in the kernel does not die; it is left behind.
    with contextlib.suppress(subprocess.TimeoutExpired, OSError, ValueError):
        process.communicate(timeout=_LAST_WORDS_S)


def _why(name: str, code: int, err: str) -> str:
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
