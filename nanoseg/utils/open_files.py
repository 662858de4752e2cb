"""Which processes have a file or device open."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


class Process(NamedTuple):
    """A process."""

    pid: int
    name: str


def processes_with(path: str | Path, proc: Path = Path("/proc")) -> list[Process]:
    """Return the other processes that have a file or device open, as far as this user may see them.

    Args:
        path: the file, by any of its names.
        proc: the folder of processes.
    """
    try:
        wanted = os.stat(path)
    except OSError:
        return []
    found = []
    for folder in sorted(proc.glob("[0-9]*"), key=lambda each: int(each.name)):
        if int(folder.name) == os.getpid():
            continue
        with suppress(OSError):
            for descriptor in (folder / "fd").iterdir():
                with suppress(OSError):
                    if os.path.samestat(descriptor.stat(), wanted):
                        found.append(Process(int(folder.name), (folder / "comm").read_text(errors="replace").strip()))
                        break
    return found
