"""engines.json: the records of the engines in one folder of the engine store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from nanoseg.engines.device import Kind
from nanoseg.errors import EngineError
from nanoseg.utils.file_name import FileName
from nanoseg.utils.hashing import Sha256
from nanoseg.utils.json_text import read_json
from nanoseg.utils.names import encode_json
from nanoseg.utils.toml import invalid_key

FORMAT = 2  # 1 spelled `kind` as the modules are called, tensorrt_rtx; it is still read
_OLDEST_FORMAT = 1
RECORDS_FILE = "engines.json"

NonNegativeInt = Annotated[int, msgspec.Meta(ge=0)]


class Profile(msgspec.Struct, forbid_unknown_fields=True):
    """The optimization profile of one input: minimum, optimum and maximum shape."""

    min: list[int]
    opt: list[int]
    max: list[int]


class RecipeReference(msgspec.Struct, forbid_unknown_fields=True):
    """The recipe that an engine was built by."""

    name: str  # "detect.toml"
    sha256: Sha256  # of its settings, command line overrides included


class EngineRecord(msgspec.Struct, forbid_unknown_fields=True):
    """One engine: its file, its source graph, its builder and its device."""

    graph: str  # detect
    file: FileName  # detect.engine
    bytes: Annotated[int, msgspec.Meta(ge=1)]
    sha256: Sha256
    graph_sha256: Sha256  # of the ONNX file that it was built from
    gpu: str
    compute_capability: tuple[int, int]
    tensorrt: str  # version
    kind: Kind
    precision: str  # for display: int8, fp16, fp32
    recipe: RecipeReference
    profiles: dict[str, Profile]  # by input; those of fixed shape are left out
    workspace_mb: NonNegativeInt
    tf32: bool
    version_compatible: bool
    build_seconds: Annotated[float, msgspec.Meta(ge=0)]
    built_at: str  # ISO 8601
    device_memory_bytes: NonNegativeInt | None = None  # activations of one context; None where it is not known
    origin: str = ""  # the torch2trt file that it was taken from, if any


class EngineRecords(msgspec.Struct, forbid_unknown_fields=True):
    """The whole of engines.json."""

    format: int
    engines: dict[str, EngineRecord]  # by graph


def read_records(folder: Path) -> tuple[Mapping[str, EngineRecord], str]:
    """Read the engines.json of a folder.

    Returns:
        The records by graph, and why there are none where the file is missing, damaged or of a newer format.
    """
    path = folder / RECORDS_FILE
    try:
        raw: Any = read_json(path, error=EngineError)
    except EngineError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return {}, f"{RECORDS_FILE} is missing beside it"
        fault = "" if isinstance(error.__cause__, OSError) else "is damaged: "
        return {}, f"{RECORDS_FILE} beside it {fault}{str(error).removeprefix(f'{path}: ')}"
    found = raw.get("format") if isinstance(raw, dict) else None
    # Checked first, because a later format may hold keys that this version does not know.
    if type(found) is int and found > FORMAT:
        return {}, f"{RECORDS_FILE} beside it is of format {found}, this nanoseg reads {FORMAT}: a newer one wrote it"
    if found == _OLDEST_FORMAT:
        _rename_kinds(raw)
    try:
        records = msgspec.convert(raw, EngineRecords)
    except msgspec.ValidationError as error:
        return {}, f"{RECORDS_FILE} beside it is damaged: {invalid_key(error)}"
    if records.format < _OLDEST_FORMAT:
        return {}, f"{RECORDS_FILE} beside it is damaged: format: wanted {FORMAT}, got {found}"
    for name, record in records.engines.items():
        if record.graph != name:
            return {}, f"{RECORDS_FILE} beside it is damaged: engines.{name}.graph: wanted {name}, got {record.graph}"
    return records.engines, ""


def _rename_kinds(raw: Any) -> None:
    """Convert the kinds of format 1 to today's spelling; other errors are left to the validation."""
    engines = raw.get("engines")
    for record in engines.values() if isinstance(engines, dict) else ():
        if isinstance(record, dict) and isinstance(record.get("kind"), str):
            record["kind"] = record["kind"].replace("_", "-")


def encode_records(engines: Mapping[str, EngineRecord]) -> bytes:
    """Return the content of engines.json, indented JSON."""
    return encode_json(EngineRecords(FORMAT, dict(engines)), indent=True)
