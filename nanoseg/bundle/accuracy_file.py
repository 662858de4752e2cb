"""The file of `nanoseg bundle measure --out`, whose figures a bundle may carry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nanoseg.bundle.external_data import combined_sha256
from nanoseg.bundle.manifest import AccuracyTable, NetworkEntry, NetworkTable
from nanoseg.errors import BundleError
from nanoseg.utils.json_text import read_json


def read_accuracy(path: Path | None) -> AccuracyTable | None:
    """Read the file, if one is given; raises BundleError."""
    if path is None:
        return None
    try:
        table: AccuracyTable = read_json(path, AccuracyTable, error=BundleError)
    except BundleError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise BundleError(f"{path}: wanted measured accuracy as JSON: {reason}") from error
    return table


def check_accuracy(
    path: Path | None, accuracy: AccuracyTable | None, table: NetworkTable, progress: Callable[[str], None]
) -> AccuracyTable | None:
    """Return measured accuracy for bundle.toml; raises BundleError where it is that of other networks."""
    if accuracy is None:
        return None
    if not accuracy.networks:
        progress(f"{path}: does not say which networks were measured; taken as it is")
    for name, measured in accuracy.networks.items():
        if name not in table.__struct_fields__:
            raise BundleError(f"{path}: networks: wanted {', '.join(table.__struct_fields__)}, got {name!r}")
        entry: NetworkEntry | None = getattr(table, name)
        if entry is not None and combined_sha256(entry.sha256, entry.external) != measured:
            raise BundleError(
                f"{path}: accuracy of another {name}, sha256 {measured[:12]}, got {entry.sha256[:12]}; "
                "make the bundle without it and measure that: nanoseg bundle measure"
            )
    return AccuracyTable(accuracy.float32, accuracy.deployed)
