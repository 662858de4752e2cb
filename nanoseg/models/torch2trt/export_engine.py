"""Export an engine as the state_dict of a torch2trt TRTModule, for code that loads those."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from nanoseg.errors import EngineError, UsageError, needs
from nanoseg.models.torch2trt.record import ImportRecord, TensorEntry, record_path
from nanoseg.utils.files import file_ids
from nanoseg.utils.json_text import read_json
from nanoseg.utils.read_file import open_file

with needs("torch", "export"):
    from nanoseg.models.torch2trt.module import TrtModule, write_trt_module


def export_engine(engine: Path, out: Path, inputs: Sequence[str] = (), outputs: Sequence[str] = ()) -> Path:
    """Write an engine as torch2trt saves it.

    Args:
        engine: A serialized TensorRT engine.
        out: The file to write.
        inputs: Names of its inputs, in the module's order; by default those of the engine's record.
        outputs: Names of its outputs, likewise.

    Returns:
        `out`.

    Raises:
        EngineError: The engine is not there, or is not the one of its record.
        UsageError: Names are missing or not the engine's, or `out` cannot be written.
    """
    if file_ids([out]) & file_ids([engine, record_path(engine)]):
        raise UsageError(f"--out: {out} would be written over the engine or its record; give another name")
    with open_file(engine, EngineError) as file:
        plan = file.read()
    if not plan:
        raise EngineError(f"{engine}: wanted a serialized engine, got an empty file")
    record = _record(engine, plan)
    names = {"inputs": list(inputs), "outputs": list(outputs)}
    for key, given in names.items():
        listed: list[TensorEntry] = getattr(record, key) if record else []
        known = [tensor.name for tensor in listed]
        names[key] = given or known
        if not names[key]:
            raise UsageError(f"--{key}: wanted the names of the engine's {key}, as {record_path(engine)} is not there")
        if known and sorted(given or known) != sorted(known):
            raise UsageError(f"--{key}: wanted {', '.join(known)} of {record_path(engine)}, got {', '.join(given)}")
    return write_trt_module(TrtModule(plan, tuple(names["inputs"]), tuple(names["outputs"])), out)


def _record(engine: Path, plan: bytes) -> ImportRecord | None:
    path = record_path(engine)
    if not path.exists():
        return None
    try:
        record: ImportRecord = read_json(path, ImportRecord, error=EngineError)
    except EngineError as error:
        raise EngineError(f"{error}; wanted the record of an engine: import the engine again") from error
    if record.sha256 != hashlib.sha256(plan).hexdigest():
        raise EngineError(f"{engine}: is not the engine of {path}: their sha256 differ; import it again")
    return record
