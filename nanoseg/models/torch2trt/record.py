"""X.engine.json: the record of an engine imported from a torch2trt file."""

from __future__ import annotations

from pathlib import Path

import msgspec


class TensorEntry(msgspec.Struct, forbid_unknown_fields=True):
    """An input or output; dtype and shape are None where the engine was not tried."""

    name: str
    dtype: str | None = None
    shape: list[int | None] | None = None  # None in it: a dynamic dimension


class ImportRecord(msgspec.Struct, forbid_unknown_fields=True):
    """Content of X.engine.json, beside X.engine."""

    sha256: str
    bytes: int
    inputs: list[TensorEntry]
    outputs: list[TensorEntry]
    origin: str  # name of the torch2trt file
    origin_sha256: str
    tried: bool
    tensorrt: str | None = None  # library and version that loaded it
    gpu: str | None = None


def record_path(engine: Path) -> Path:
    """Return the path of an engine's record."""
    return engine.with_name(f"{engine.name}.json")
