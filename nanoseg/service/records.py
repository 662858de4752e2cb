"""Records to a JSON lines file that is rotated by size; a full or slow disk pauses them and nothing else."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple

from nanoseg.errors import os_reason
from nanoseg.service.config import RecordsConfig
from nanoseg.service.frame_record import FrameRecord, WaitingRecords
from nanoseg.utils.files import write_all

CAPACITY = 64  # records that wait for the disk
RETRY_S = 5.0  # after the disk refused, and between looks at its free space
MIN_FREE_BYTES = 50_000_000  # that are left to the rest of the system
CLOSE_S = 2.0  # in which what waits is written at the end


class _Waiting(NamedTuple):
    """Records that wait, and where they are written; None: nowhere."""

    config: RecordsConfig | None
    records: WaitingRecords


class RecordsWriter:
    """Write a line a frame in a thread of its own: `records.jsonl`, older ones `records.jsonl.1`, `.2`, ...

    A line is in the file whole or not at all: one that a full disk or a kill has cut is cut off before the next one.
    A file that cannot be written is tried again, as a disk that is full or not there yet.
    """

    def __init__(self, config: RecordsConfig | None, told: Callable[[str], None]) -> None:
        """Start.

        Args:
            config: where, and how much; None: nothing is written.
            told: takes a line about trouble, and one about its end.
        """
        self._config, self._told = config, told
        self.written = 0
        self.dropped: Counter[str] = Counter()  # by reason: "slow", "disk"
        self._wake, self._closing = threading.Condition(), False
        self._waiting = deque([_Waiting(config, WaitingRecords(CAPACITY))])  # one more with each change
        self._refused_s: float | None = None  # when the disk refused last
        self._looked_s, self._free_bytes = -RETRY_S, 0
        self._file: BinaryIO | None = None
        self._thread = threading.Thread(target=self._run, name="nanoseg-records", daemon=True)
        self._thread.start()

    def put(self, record: FrameRecord) -> None:
        """Take a record; one for which there is no room is dropped and counted."""
        if self._config is None:
            return
        with self._wake:
            records = self._waiting[-1].records
            if not records.has_room(record):
                self.dropped["slow"] += 1
                return
            records.append(record)
            self._wake.notify()

    def change(self, config: RecordsConfig | None) -> None:
        """Write elsewhere, or nothing, once what waits is written; does not wait for that."""
        if config != self._config:
            self._config = config
            with self._wake:
                self._waiting.append(_Waiting(config, WaitingRecords(CAPACITY)))
                self._wake.notify()

    def close(self) -> None:
        """Write what waits, within CLOSE_S, and close the file."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        self._take(self._waiting[0].config)
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._waiting[0].records or len(self._waiting) > 1 or self._closing)
                config, records = self._waiting[0]
                record = records.popleft() if records else None
                if record is None:
                    if len(self._waiting) == 1:
                        break
                    self._waiting.popleft()
                    config = self._waiting[0].config
            if record is None:
                self._take(config)
            elif config is not None:
                self._write(record, config)
        self._leave()

    def _take(self, config: RecordsConfig | None) -> None:
        self._leave()
        self._refused_s, self._looked_s = None, -RETRY_S
        if config is not None:
            try:
                self._file = self._open(config)
            except OSError as error:
                self._refuse(config, error)

    def _refuse(self, config: RecordsConfig, error: OSError) -> None:
        """Tell of trouble once, and write nothing for a while."""
        if self._refused_s is None:
            self._told(f"{config.path}: records pause: {os_reason(error)}; tried again every {RETRY_S:g} s")
        self._refused_s = time.monotonic()
        self._leave()

    def _write(self, record: FrameRecord, config: RecordsConfig) -> None:
        now_s = time.monotonic()
        if self._refused_s is not None and now_s - self._refused_s < RETRY_S:
            self.dropped["disk"] += 1
            return
        try:
            if self._file is None:
                self._file = self._open(config)
            self._check_space(config, now_s)
            line = record.json() + b"\n"
            if self._file.tell() and self._file.tell() + len(line) > config.max_mb * 1e6:
                self._file = self._rotate(config)
            end = self._file.tell()
            try:
                write_all(self._file, line)
            except OSError:
                os.truncate(self._file.fileno(), end)
                raise
        except OSError as error:
            self.dropped["disk"] += 1
            self._refuse(config, error)
        else:
            self.written += 1
            if self._refused_s is not None:
                self._refused_s = None
                self._told(f"{config.path}: records go on; {self.dropped['disk']} were dropped so far")

    def _check_space(self, config: RecordsConfig, now_s: float) -> None:
        """Raise OSError where the disk is nearly full: before other programs cannot write."""
        if now_s - self._looked_s >= RETRY_S:
            self._looked_s = now_s
            found = os.statvfs(Path(config.path).parent)
            self._free_bytes = found.f_bavail * found.f_frsize
        if self._free_bytes < MIN_FREE_BYTES:
            self._looked_s = -RETRY_S
            raise OSError(errno.ENOSPC, f"less than {MIN_FREE_BYTES // 1_000_000} MB are free on the disk")

    def _open(self, config: RecordsConfig) -> BinaryIO:
        path = Path(config.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "ab+", buffering=0)  # noqa: SIM115
        try:
            size = _whole_lines(file)
            os.truncate(file.fileno(), size)
            file.seek(size)
        except BaseException:
            file.close()
            raise
        return file

    def _rotate(self, config: RecordsConfig) -> BinaryIO:
        self._leave()
        path = Path(config.path)
        for number in range(config.keep, 0, -1):
            older = _numbered(path, number - 1)
            if older.exists():
                os.replace(older, _numbered(path, number))
        if not config.keep:
            path.unlink(missing_ok=True)
        return self._open(config)

    def _leave(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}") if number else path


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
