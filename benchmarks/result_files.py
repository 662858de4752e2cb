"""The files in benchmarks/results, and the rows of the tables that are made of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from nanoseg.utils.toml import read_toml

FOLDER = Path(__file__).with_name("results")
ROWS = FOLDER / "rows.toml"
KINDS = ("measured", "estimated", "published")
KEYS = {"kind", "command", "environment", "figures"}


class Row(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A line of a table."""

    what: str
    cells: dict[str, str]  # files below benchmarks/results, without .json -> how their figures are written
    readme: bool = False  # also in README.md


class Rows(msgspec.Struct, forbid_unknown_fields=True):
    """The content of rows.toml."""

    row: list[Row]


class ResultFile(NamedTuple):
    """What one command found."""

    name: str
    kind: str
    command: str  # or, where figures are published, their source
    environment: dict[str, Any]
    figures: dict[str, Any]
    carried: bool = False  # taken over from a table that was kept by hand, not from a file that a command wrote

    def text(self, form: str) -> str:
        """Return figures as a form has them: `{ratio:.2f} of its time`, `{latency_ms[embed][p50]:.1f} ms`."""
        return form.format_map(_indexed(self.figures))


def read_result(name: str) -> ResultFile:
    """Read a file by its name; raises ValueError for one that is not a result."""
    found = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    if not found.keys() >= KEYS or found["kind"] not in KINDS:
        raise ValueError(f"{name}.json: wanted {', '.join(sorted(KEYS))} with a kind of {', '.join(KINDS)}")
    return ResultFile(name, **{key: found[key] for key in KEYS}, carried=found.get("carried", False))


def read_rows() -> list[Row]:
    """Read the tables' rows, in order."""
    return read_toml(ROWS, Rows).row


def _indexed(value: Any) -> Any:
    """Return figures with keys such as "8" as numbers, which is what str.format takes them for."""
    if not isinstance(value, dict):
        return value
    return {int(key) if key.isdigit() else key: _indexed(each) for key, each in value.items()}
