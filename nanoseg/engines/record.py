"""engines.json: what is known of the engines beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from nanoseg.engines.device import Kind
from nanoseg.utils.hashing import Sha256
from nanoseg.utils.toml import invalid_key

FORMAT = 1
RECORDS_FILE = "engines.json"

Count = Annotated[int, msgspec.Meta(ge=0)]


class Profile(msgspec.Struct, forbid_unknown_fields=True):
    """The shapes that one input may have."""

    min: list[int]
    opt: list[int]
    max: list[int]


class RecipeUsed(msgspec.Struct, forbid_unknown_fields=True):
    """Which recipe an engine was built by."""

    name: str  # "detect.toml"
    sha256: Sha256  # of what it says, with what the command line changed of it


class EngineRecord(msgspec.Struct, forbid_unknown_fields=True):
    """What one engine is, what it was built from, by and for."""

    graph: str  # detect
    file: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]  # detect.engine
    bytes: Annotated[int, msgspec.Meta(ge=1)]
    sha256: Sha256
    graph_sha256: Sha256  # of the ONNX file that it was built from
    gpu: str
    compute_capability: tuple[int, int]
    tensorrt: str  # version
    kind: Kind
    precision: str  # for people
    recipe: RecipeUsed
    profiles: dict[str, Profile]  # by input; those of fixed shape are left out
    workspace_mb: Count
    tf32: bool
    version_compatible: bool
    build_seconds: Annotated[float, msgspec.Meta(ge=0)]
    built_at: str  # ISO 8601
    device_memory_bytes: Count | None = None  # activations of one context; None: TensorRT did not tell
    origin: str = ""  # where it was not built here: a file of torch2trt


class EngineRecords(msgspec.Struct, forbid_unknown_fields=True):
    """The whole of engines.json."""

    format: int
    engines: dict[str, EngineRecord]  # by graph


def read_records(folder: Path) -> tuple[Mapping[str, EngineRecord], str]:
    """The records of a folder by graph, and why there are none where engines.json is missing, damaged or too new."""
    try:
        raw: Any = msgspec.json.decode((folder / RECORDS_FILE).read_bytes())
    except FileNotFoundError:
        return {}, f"{RECORDS_FILE} is missing beside it"
    except OSError as error:
        return {}, f"{RECORDS_FILE} beside it cannot be read: {error.strerror}"
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return {}, f"{RECORDS_FILE} beside it is damaged: {error}"
    found = raw.get("format") if isinstance(raw, dict) else None
    # First, because a later format may hold keys that this version has never heard of.
    if type(found) is int and found > FORMAT:
        return {}, f"{RECORDS_FILE} beside it is of format {found}, this nanoseg reads {FORMAT}: a newer one wrote it"
    try:
        sidecar = msgspec.convert(raw, EngineRecords)
    except msgspec.ValidationError as error:
        return {}, f"{RECORDS_FILE} beside it is damaged: {invalid_key(error)}"
    if found != FORMAT:
        return {}, f"{RECORDS_FILE} beside it is damaged: format: wanted {FORMAT}, got {found}"
    for name, record in sidecar.engines.items():
        if record.graph != name:
            return {}, f"{RECORDS_FILE} beside it is damaged: engines.{name}.graph: wanted {name}, got {record.graph}"
    return sidecar.engines, ""


def write_records(engines: Mapping[str, EngineRecord]) -> bytes:
    """engines.json's text."""
    return msgspec.json.format(msgspec.json.encode(EngineRecords(FORMAT, dict(engines)))) + b"\n"
