"""Check and write the files of the verbs that convert a network: quantize and fp16."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from nanoseg.errors import UsageError
from nanoseg.utils.files import check_writable, file_ids, write_all_atomic, write_errors
from nanoseg.utils.folders import make_output_folder


def check_files(out: Path, network: Path, kind: str, reads: Iterable[Path | None], report: Path | None) -> None:
    """Check the paths of a verb before its long work.

    Args:
        out: The network to write.
        network: The network to read.
        kind: What the network is called in messages.
        reads: Further files that are read.
        report: A file of the report to write.

    Raises:
        UsageError: `out` or `report` cannot be written, or `out` is a file that is read.
    """
    check_writable(out)
    if file_ids([out]) & file_ids([network]):
        raise UsageError(f"--out: {out} is the {kind} itself; give another name")
    if file_ids([out]) & file_ids(filter(None, reads)):
        raise UsageError(f"--out: {out} is a file to read; give another name")
    if report is not None:
        check_writable(report, "--report")


def write_files(files: Mapping[Path, bytes]) -> None:
    """Write all of the files or none, and make their folders; raises UsageError."""
    for folder in {path.parent for path in files}:
        make_output_folder(folder)
    write_all_atomic(files, guard=write_errors)
