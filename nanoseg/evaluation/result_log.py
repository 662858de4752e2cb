"""Results of images in a JSON Lines file that grows with the run, so that one that was ended goes on."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from nanoseg.utils.files import write_errors
from nanoseg.utils.locks import lock_output
from nanoseg.utils.names import encode_json
from nanoseg.utils.read_file import open_file

Result = Mapping[str, Any]


class _Row(msgspec.Struct):
    """One line: an image."""

    key: str
    image_id: int | float | str
    results: list[dict[str, Any]]


class ResultLog:
    """The results of one key, by the image's id, and the file that they are appended to."""

    def __init__(self, key: str, path: Path | None, descriptor: int | None) -> None:
        """See `open_result_log`."""
        self.results: dict[int | float | str, Sequence[Result]] = {}
        self._key, self._path, self._descriptor = key, path, descriptor

    def add(self, image_id: int | float | str, results: Sequence[Result]) -> None:
        """Keep the results of an image; once this returns a killed process does not lose them.

        Raises:
            UsageError: they cannot be written.
        """
        self.results[image_id] = results
        if self._path is not None and self._descriptor is not None:
            line = encode_json({"key": self._key, "image_id": image_id, "results": results}) + b"\n"
            with write_errors(self._path):
                while line:
                    line = line[os.write(self._descriptor, line) :]


def log_key(settings: Mapping[str, Any]) -> str:
    """Return the key of results that depend on these settings alone, beside the image."""
    return hashlib.sha256(encode_json(dict(sorted(settings.items())))).hexdigest()


@contextmanager
def open_result_log(path: Path | None, key: str) -> Iterator[ResultLog]:
    """Open the file of a run, and read the results that an earlier run with the same key wrote.

    Lines of other keys stay in the file; those that are cut short or damaged are passed over.

    Args:
        path: the file, created where there is none; None to keep results in memory alone.
        key: of the results, from `log_key`.

    Raises:
        UsageError: the file cannot be read or written, or another run writes to it.
    """
    if path is None:
        yield ResultLog(key, None, None)
        return
    with write_errors(path):
        lock = lock_output(path, path, "--out")
    try:
        with write_errors(path):
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            log = ResultLog(key, path, descriptor)
            ended = _read(path, key, log.results)
            if not ended:  # the last line was cut short: what is appended begins a new one
                with write_errors(path):
                    os.write(descriptor, b"\n")
            yield log
        finally:
            os.close(descriptor)
    finally:
        os.close(lock)


def _read(path: Path, key: str, results: dict[int | float | str, Sequence[Result]]) -> bool:
    """Take the lines of a key; returns whether the file is empty or ends with a whole line."""
    decoder = msgspec.json.Decoder(_Row)
    line = b"\n"
    with open_file(path) as file:
        for line in file:
            try:
                row = decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
            if row.key == key and line.endswith(b"\n"):
                results[row.image_id] = row.results
    return line.endswith(b"\n")
