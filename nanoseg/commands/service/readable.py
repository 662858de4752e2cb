"""What the unit's user can read: it has no home, and sees neither others' nor the machine's temporary files."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

import nanoseg
from nanoseg.errors import UsageError

HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # by ProtectHome= and PrivateTmp= of the unit
_EVERYBODY = 0o005  # may read and pass through
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._+-@,=~")


def find_executable() -> Path:
    """Return the nanoseg of this Python, for a unit to start.

    Raises:
        UsageError: there is none, or its name would need quoting in a unit.
    """
    path = Path(sysconfig.get_path("scripts"), "nanoseg")
    if not path.is_file():
        raise UsageError(f"{path}: is not there, and the unit is to start it; install nanoseg by pip in this Python")
    return check_plain(path)


def check_plain(path: Path) -> Path:
    """Return an absolute path that can be written into a unit; raises UsageError."""
    path = path.absolute()
    if odd := sorted(set(str(path)) - _PLAIN):
        raise UsageError(f"{path}: wanted a path of ASCII letters, digits and {'/._+-@,=~'}, got {odd[0]!r} in it")
    return path


def check_program(executable: Path) -> None:
    """Raise UsageError where the unit's user could not start a nanoseg: its program, its Python or its package."""
    package = Path(nanoseg.__file__).parent
    for path in (executable, Path(sys.executable).absolute(), Path(sys.prefix), Path(sys.base_prefix), package):
        if reason := unreadable(path):
            raise UsageError(
                f"{reason}, so the service cannot start {executable}; install nanoseg for all users: "
                "sudo python3 -m venv --system-site-packages /opt/nanoseg, and nanoseg by its pip"
            )


def unreadable(path: Path) -> str:
    """Return why the unit's user cannot read a path, with the path; empty where it can."""
    real = Path(os.path.realpath(path))
    for each in (path, real):
        for folder in HIDDEN:
            if each.is_relative_to(folder):
                return f"{path}: lies in {folder}, which the unit does not see"
    for each in _with_parents((path, real)):
        if each.exists() and each.stat().st_mode & _EVERYBODY != _EVERYBODY and not each.is_symlink():
            return f"{path}: {each} is closed to other users"
    return ""


def _with_parents(paths: Iterable[Path]) -> Iterable[Path]:
    return dict.fromkeys(each for path in paths for each in (*reversed(path.parents), path))
