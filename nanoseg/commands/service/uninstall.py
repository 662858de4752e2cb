"""`nanoseg service uninstall`."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from nanoseg.commands.service.install import UNIT_DIR
from nanoseg.commands.service.systemctl import need_root, systemctl
from nanoseg.errors import UsageError
from nanoseg.service.unit import CONFIG, NAME, STATE, TOKEN
from nanoseg.utils.files import write_errors
from nanoseg.utils.terminal import print_line


def uninstall(unit_dir: Path = UNIT_DIR, config: Path = Path(CONFIG), purge: bool = False) -> None:
    """Stop the service and remove its unit.

    Args:
        unit_dir: the folder of the unit.
        config: the configuration, beside which the token lies.
        purge: remove both, the state and the cache, too.

    Raises:
        UsageError: not root, a file cannot be removed, or systemctl failed.
    """
    need_root("uninstall")
    unit = unit_dir / NAME
    if unit.exists():
        _call("disable", "--now", NAME)
        if purge:
            _call("clean", "--what=state", "--what=cache", NAME)
    _remove(unit)
    _call("daemon-reload")
    with suppress(UsageError):  # it has not failed
        systemctl("reset-failed", NAME)
    files = (config, config.parent / Path(TOKEN).name)
    for path in files:
        if purge:
            _remove(path)
    for path in (*files, Path(STATE)):
        if path.exists():
            print_line(f"{path}: kept")
    if purge:
        with suppress(OSError):  # the user's own files are in it
            config.parent.rmdir()


def _call(*words: str) -> None:
    print_line(f"systemctl {' '.join(words)}")
    systemctl(*words)


def _remove(path: Path) -> None:
    with write_errors(path):
        if not os.path.lexists(path):
            return
        path.unlink()
    print_line(f"{path}: removed")
