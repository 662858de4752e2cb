"""Records to a JSON lines file that is rotated by size; a full or slow disk pauses them and nothing else."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from nanoseg.errors import UsageError, os_reason
from nanoseg.service.config import RecordsConfig
from nanoseg.service.frame_record import FrameRecord, WaitingRecords
from nanoseg.utils.files import write_all

CAPACITY = 64  # records that wait for the disk
RETRY_S = 5.0  # after the disk refused, and between looks at its free space
MIN_FREE_BYTES = 50_000_000  # that are left to the rest of the system
CLOSE_S = 2.0  # in which what waits is written at the end


class RecordsWriter:
    """Write a line a frame in a thread of its own: `records.jsonl`, older ones `records.jsonl.1`, `.2`, ...

    A line is in the file whole or not at all: one that a full disk or a kill has cut is cut off before the next one.
    """

    def __init__(self, config: RecordsConfig, told: Callable[[str], None]) -> None:
        """Open the file, and start.

        Args:
            config: where, and how much.
            told: takes a line about trouble, and one about its end.

        Raises:
            UsageError: the file cannot be written.
        """
        self._path, self._told = Path(config.path), told
        self._max_bytes, self._keep = config.max_mb * 1e6, config.keep
        self.written = 0
        self.dropped: Counter[str] = Counter()  # by reason: "slow", "disk"
        self._wake, self._waiting, self._closing = threading.Condition(), WaitingRecords(CAPACITY), False
        self._refused_s: float | None = None  # when the disk refused last
        self._looked_s, self._free_bytes = -RETRY_S, 0
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO | None = self._open()
        except OSError as error:
            raise UsageError(f"records.path: {self._path}: cannot be written: {os_reason(error)}") from error
        self._thread = threading.Thread(target=self._run, name="nanoseg-records", daemon=True)
        self._thread.start()

    def put(self, record: FrameRecord) -> None:
        """Take a record; one for which there is no room is dropped and counted."""
        with self._wake:
            if not self._waiting.has_room(record):
                self.dropped["slow"] += 1
                return
            self._waiting.append(record)
            self._wake.notify()

    def close(self) -> None:
        """Write what waits, within CLOSE_S, and close the file."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: len(self._waiting) or self._closing)
                if not self._waiting:
                    break
                record = self._waiting.popleft()
            self._write(record)
        if self._file is not None:
            self._file.close()

    def _write(self, record: FrameRecord) -> None:
        now_s = time.monotonic()
        if self._refused_s is not None and now_s - self._refused_s < RETRY_S:
            self.dropped["disk"] += 1
            return
        try:
            self._check_space(now_s)
            if self._file is None:
                self._file = self._open()
            line = record.json() + b"\n"
            if self._file.tell() and self._file.tell() + len(line) > self._max_bytes:
                self._rotate()
            end = self._file.tell()
            try:
                write_all(self._file, line)
            except OSError:
                os.truncate(self._file.fileno(), end)
                raise
        except OSError as error:
            self.dropped["disk"] += 1
            if self._refused_s is None:
                self._told(f"{self._path}: records pause: {os_reason(error)}; tried again every {RETRY_S:g} s")
            self._refused_s = now_s
            self._leave()
        else:
            self.written += 1
            if self._refused_s is not None:
                self._refused_s = None
                self._told(f"{self._path}: records go on; {self.dropped['disk']} were dropped so far")

    def _check_space(self, now_s: float) -> None:
        """Raise OSError where the disk is nearly full: before other programs cannot write."""
        if now_s - self._looked_s >= RETRY_S:
            self._looked_s = now_s
            found = os.statvfs(self._path.parent)
            self._free_bytes = found.f_bavail * found.f_frsize
        if self._free_bytes < MIN_FREE_BYTES:
            self._looked_s = -RETRY_S
            raise OSError(errno.ENOSPC, f"less than {MIN_FREE_BYTES // 1_000_000} MB are free on the disk")

    def _open(self) -> BinaryIO:
        file = open(self._path, "ab+", buffering=0)  # noqa: SIM115
        try:
            size = _whole_lines(file)
            os.truncate(file.fileno(), size)
            file.seek(size)
        except BaseException:
            file.close()
            raise
        return file

    def _rotate(self) -> None:
        self._leave()
        for number in range(self._keep, 0, -1):
            older = self._numbered(number - 1)
            if older.exists():
                os.replace(older, self._numbered(number))
        if not self._keep:
            self._path.unlink(missing_ok=True)
        self._file = self._open()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}") if number else self._path

    def _leave(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _whole_lines(file: BinaryIO) -> int:
    """Return the size of a file up to the end of its last whole line."""
    size = file.seek(0, os.SEEK_END)
    while size:
        start = max(0, size - 65536)
        file.seek(start)
        newline = file.read(size - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        size = start
    return 0
