"""X.engine.json: the record of an engine that came out of a torch2trt file."""

from __future__ import annotations

from pathlib import Path

import msgspec


class Tensor(msgspec.Struct, forbid_unknown_fields=True):
    """An input or output; dtype and shape are known where the engine was tried, None in a shape is a dynamic side."""

    name: str
    dtype: str | None = None
    shape: list[int | None] | None = None


class ImportRecord(msgspec.Struct, forbid_unknown_fields=True):
    """Content of X.engine.json, beside X.engine."""

    sha256: str
    bytes: int
    inputs: list[Tensor]
    outputs: list[Tensor]
    origin: str  # name of the torch2trt file
    origin_sha256: str
    tried: bool
    tensorrt: str | None = None  # library and version that loaded it
    gpu: str | None = None


def record_path(engine: Path) -> Path:
    """Return the path of an engine's record."""
    return engine.with_name(f"{engine.name}.json")
