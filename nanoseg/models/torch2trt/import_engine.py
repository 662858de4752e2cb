"""Import an engine from a torch2trt file, try it on this device, and record its origin."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from nanoseg.backends.tensorrt.plan import PlanDescription, describe_plan
from nanoseg.errors import DependencyError, EngineError, UsageError, needs
from nanoseg.models.torch2trt.record import ImportRecord, TensorEntry, record_path
from nanoseg.utils.files import file_ids, write_all_atomic, write_errors
from nanoseg.utils.hashing import sha256_of_file
from nanoseg.utils.names import encode_json

with needs("torch", "export"):
    import torch

    from nanoseg.models.torch2trt.module import TrtModule, read_trt_module


def import_engine(source: Path, out: Path, module: str | None = None, untried: bool = False) -> ImportRecord:
    """Write the engine of a torch2trt file to `out`, with its record beside it.

    Args:
        source: A TRTModule's state_dict, saved by torch.save; it is read as data, nothing in it is executed.
        out: The engine to write.
        module: Prefix of the TRTModule, where the file holds several.
        untried: Do not load the engine; without it TensorRT must be able to load it here.

    Returns:
        The content of `out`.json.

    Raises:
        BundleError: The file holds no engine.
        EngineError: The engine cannot be loaded here, or its tensors are not those that the file names.
        DependencyError: TensorRT is not installed, unless `untried`.
        UsageError: There is no such module, or `out` cannot be written.
    """
    if file_ids([out, record_path(out)]) & file_ids([source]):
        raise UsageError(f"--out: {out} and {record_path(out).name} would be written over {source}; give another name")
    found = read_trt_module(source, module)
    described = None if untried else _described(found.engine, source)
    if described:
        _check_names(source, found, described)
    record = ImportRecord(
        sha256=hashlib.sha256(found.engine).hexdigest(),
        bytes=len(found.engine),
        inputs=_tensors(found.inputs, described),
        outputs=_tensors(found.outputs, described),
        origin=source.name,
        origin_sha256=sha256_of_file(source),
        tried=described is not None,
        tensorrt=f"{described.library} {described.version}" if described else None,
        gpu=torch.cuda.get_device_name() if described and torch.cuda.is_available() else None,
    )
    content = encode_json(record, indent=True)
    with write_errors(out, "choose another --out"):
        out.parent.mkdir(parents=True, exist_ok=True)
        # The engine first: its sha256 does not fit an older record, should this be interrupted between the two.
        write_all_atomic({out: found.engine, record_path(out): content})
    return record


def _described(engine: bytes, source: Path) -> PlanDescription:
    try:
        return describe_plan(engine, str(source))
    except DependencyError as error:
        raise DependencyError(f"{error}; or import it untried: --untried") from error


def _check_names(source: Path, found: TrtModule, described: PlanDescription) -> None:
    for kind, named, held in (
        ("inputs", found.inputs, described.names(inputs=True)),
        ("outputs", found.outputs, described.names(inputs=False)),
    ):
        if set(named) != set(held):
            raise EngineError(f"{source}: names the {kind} {', '.join(named)}, its engine has {', '.join(held)}")


def _tensors(names: Sequence[str], described: PlanDescription | None) -> list[TensorEntry]:
    if described is None:
        return [TensorEntry(name) for name in names]
    known = {tensor.name: tensor for tensor in described.tensors}
    return [TensorEntry(name, known[name].dtype, list(known[name].shape)) for name in names]
