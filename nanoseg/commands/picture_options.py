"""What the tools share that make another network of one, by pictures: flags, and files to read and write."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path

from nanoseg.errors import UsageError
from nanoseg.utils.files import check_writable, file_ids, write_all_atomic, write_errors
from nanoseg.utils.folders import make_output_folder


def add_flags(parser: argparse.ArgumentParser, detector: str, truth: str, report: str) -> None:
    """The pictures, how `detector` takes them, and, in the tool's words, what they show and what is reported."""
    parser.add_argument(
        "--images",
        required=True,
        metavar="SOURCE",
        help="a folder or pattern of pictures like those to come, or parts://",
    )
    parser.add_argument("--annotations", type=Path, metavar="COCO.json", help=truth)
    parser.add_argument(
        "--detector-spec", type=Path, metavar="TOML", help="what a detector takes and gives, as make_bundle's"
    )
    parser.add_argument("--size", type=int, metavar="PX", help=f"side of {detector}'s input, where its file is open")
    parser.add_argument("--rescale", type=int, metavar="PX", help=f"longer side of a picture in {detector}'s input")
    parser.add_argument("--report", type=Path, metavar="DIR", help=report)
    parser.add_argument("--json", action="store_true", help="the report on stdout as JSON, not as a table")


def check_files(out: Path, network: Path, what: str, reads: Iterable[Path | None], report: Path | None) -> None:
    """Raise UsageError where `out` or `report` cannot be written, or `out` is the network, called `what`, or read."""
    check_writable(out)
    if file_ids([out]) & file_ids([network]):
        raise UsageError(f"--out: {out} is the {what} itself; give another name")
    if file_ids([out]) & file_ids(filter(None, reads)):
        raise UsageError(f"--out: {out} is a file to read; give another name")
    if report is not None:
        check_writable(report, "--report")


def put_files(files: Mapping[Path, bytes]) -> None:
    """Write them all, or none, and make their folders; raises UsageError."""
    for folder in {path.parent for path in files}:
        make_output_folder(folder)
    write_all_atomic(files, guard=write_errors)
