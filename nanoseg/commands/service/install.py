"""`nanoseg service install`."""

from __future__ import annotations

import grp
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nanoseg.commands.service.readable import check_plain, check_program, find_executable, unreadable
from nanoseg.commands.service.systemctl import need_root, systemctl
from nanoseg.errors import UsageError
from nanoseg.service.config import sample_config
from nanoseg.service.unit import CONFIG, GROUPS, NAME, TOKEN, unit_text
from nanoseg.utils.files import write_atomic, write_errors
from nanoseg.utils.terminal import print_error, print_line

UNIT_DIR = Path("/etc/systemd/system")
_TOKEN_BYTES = 32
_CAMERAS = "video"  # the group of /dev/video*


@dataclass(frozen=True)
class InstallOptions:
    """What `nanoseg service install` was asked for."""

    unit_dir: Path = UNIT_DIR
    config: Path = Path(CONFIG)
    start: bool = True
    dry_run: bool = False


@dataclass(frozen=True)
class _File:
    """A file to write."""

    path: Path
    text: str
    mode: int
    group: str | None = None
    keep: bool = False  # what is there already


def install(options: InstallOptions) -> None:
    """Write the unit, and what it needs where that is missing; enable and start it.

    Raises:
        UsageError: not root, a path that the unit cannot read, no group for the configuration, or systemctl failed.
    """
    if not options.dry_run:
        need_root("install")
    executable, config = find_executable(), check_plain(options.config)
    check_program(executable)
    if reason := unreadable(config.parent):
        raise UsageError(f"{reason}; wanted a configuration elsewhere, as {CONFIG}")
    groups = [name for name in GROUPS if _exists(name)]
    for name in sorted(set(GROUPS) - set(groups)):
        print_error(f"note: no group {name} on this machine, so the service gets none")
    if _CAMERAS not in groups and not _is_public(config):
        raise UsageError(
            f"{config}: is for root and the group {_CAMERAS}, as passwords of cameras are in it, and this machine has "
            f"no such group, so the service could not read it: sudo groupadd --system {_CAMERAS}"
        )
    token = config.parent / Path(TOKEN).name
    for file in (
        # Passwords of cameras are in it: it is for those who may open this machine's cameras, as the service's user.
        _File(config, sample_config(), 0o640, _CAMERAS, keep=True),
        _File(token, f"{secrets.token_urlsafe(_TOKEN_BYTES)}\n", 0o600, keep=True),
        _File(options.unit_dir / NAME, unit_text(str(executable), str(config), str(token), groups), 0o644),
    ):
        _write(file, options.dry_run)
    # A build of engines at the first start takes minutes, which nobody waits for here.
    start = [("restart", "--no-block", NAME)] if options.start else []
    for words in (("daemon-reload",), ("enable", NAME), *start):
        print_line(f"{'would call ' * options.dry_run}systemctl {' '.join(words)}")
        if not options.dry_run:
            systemctl(*words)
    _print_next(executable, config, options.start)


def _print_next(executable: Path, config: Path, started: bool) -> None:
    print_line("next:")
    print_line(f"  sudo nano {config}   # the cameras, and the bundle")
    print_line(f"  sudo {executable} service reload" if started else f"  sudo systemctl start {NAME}")
    print_line(f"  {executable} service status")
    print_line("  journalctl -fu nanoseg")


def _write(file: _File, dry_run: bool) -> None:
    there = os.path.lexists(file.path)
    if there and (file.keep or _has(file.path, file.text)):
        print_line(f"{file.path}: {'kept' if file.keep else 'unchanged'}")
        return
    if not dry_run:
        with write_errors(file.path):
            file.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        # Not chmod afterwards, when others have opened it. To everybody it is closed until it has its group.
        with _umask(0o777 & ~(file.mode if file.group is None else file.mode & 0o700)):
            write_atomic(file.path, file.text.encode(), guard=write_errors)
        if file.group is not None:
            with write_errors(file.path):
                os.chown(file.path, -1, grp.getgrnam(file.group).gr_gid)
                file.path.chmod(file.mode)
    print_line(f"{file.path}: {'would be ' * dry_run}{'replaced' if there else 'written'}")


def _is_public(path: Path) -> bool:
    """Return whether a file is there and everybody may read it."""
    return path.is_file() and bool(path.stat().st_mode & 0o004)


def _has(path: Path, text: str) -> bool:
    try:
        return path.read_bytes() == text.encode()
    except OSError:
        return False


def _exists(group: str) -> bool:
    try:
        grp.getgrnam(group)
    except KeyError:
        return False
    return True


@contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)
