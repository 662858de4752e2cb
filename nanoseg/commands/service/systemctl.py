"""systemctl, as the verbs call it."""

from __future__ import annotations

import os
import sys

from nanoseg.doctor.machine import run_command
from nanoseg.errors import UsageError
from nanoseg.service.unit import NAME

_ANSWER_S = 60.0  # to stop, a service has 40


def need_root(verb: str) -> None:
    """Raise UsageError where this user may not change units."""
    if os.geteuid():
        # sudo's PATH has no virtual environments.
        raise UsageError(f"nanoseg service {verb}: wanted root, as units are the system's: sudo {sys.argv[0]} ...")


def systemctl(*words: str) -> str:
    """Call systemctl and return what it printed.

    Raises:
        UsageError: it is not installed, or failed.
    """
    done = run_command(["systemctl", *words], _ANSWER_S)
    if done.error:
        raise UsageError(f"systemctl {words[0]}: {done.error.removeprefix('systemctl: ')}")
    return done.stdout


def show_unit() -> dict[str, str]:
    """Return what systemd knows of the unit, by property; raises UsageError where systemd does not run."""
    names = (
        "LoadState,UnitFileState,ActiveState,SubState,Result,StatusText,NRestarts,StateChangeTimestamp,MainPID,"
        "ExecMainStatus,NeedDaemonReload"
    )
    pairs = (line.partition("=") for line in systemctl("show", NAME, f"--property={names}").splitlines())
    return {name: value for name, equals, value in pairs if equals}
