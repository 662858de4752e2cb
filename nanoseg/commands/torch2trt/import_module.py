"""Take the TensorRT engine out of a file of torch2trt, try it on this device, and note where it came from.

examples:
  python tools/import_torch2trt.py resnet18_trt.pth --out resnet18.engine
  python tools/import_torch2trt.py pipeline.pth --module encoder --out encoder.engine
  python tools/import_torch2trt.py resnet18_trt.pth --out resnet18.engine --untried     # where there is no TensorRT

The file is what torch.save makes of a TRTModule's state_dict(); it is read as data, nothing in it is executed.
Beside X.engine lies X.engine.json: sha256, inputs, outputs, origin, and what it was tried with. An engine runs on the
TensorRT and the GPU that it was built for, and nowhere else.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from nanoseg.backends.tensorrt.plan import PlanDescription, describe_plan
from nanoseg.commands.run_tool import run_tool
from nanoseg.errors import DependencyError, EngineError, UsageError, needs
from nanoseg.utils.files import file_ids, write_all_atomic, write_errors
from nanoseg.utils.hashing import sha256_of_file

if TYPE_CHECKING:
    from nanoseg.models.torch2trt import TrtModule


class Tensor(msgspec.Struct, forbid_unknown_fields=True):
    """An input or output; type and shape are known where it was tried, None in a shape is a side that varies."""

    name: str
    dtype: str | None = None
    shape: list[int | None] | None = None


class Sidecar(msgspec.Struct, forbid_unknown_fields=True):
    """X.engine.json, beside X.engine."""

    sha256: str
    bytes: int
    inputs: list[Tensor]
    outputs: list[Tensor]
    origin: str  # the file that it was taken out of
    origin_sha256: str
    tried: bool
    tensorrt: str | None = None  # library and version that could load it
    gpu: str | None = None


def sidecar_of(engine: Path) -> Path:
    """Where an engine's sidecar lies."""
    return engine.with_name(f"{engine.name}.json")


def import_engine(source: Path, out: Path, module: str | None = None, untried: bool = False) -> Sidecar:
    """Write the engine of a torch2trt file to `out`, and its sidecar; returns the latter.

    Raises BundleError for a file without an engine, EngineError for an engine that cannot be loaded here,
    DependencyError without torch, and without TensorRT unless `untried`, UsageError for what was asked and for a disk
    that will not do.
    """
    with needs("torch", "export"):
        import torch

        from nanoseg.models.torch2trt import read_trt_module
    if file_ids([out, sidecar_of(out)]) & file_ids([source]):
        raise UsageError(f"--out: {out} and {sidecar_of(out).name} would be written over {source}; give another name")
    found = read_trt_module(source, module)
    described = None if untried else _described(found.engine, source)
    if described:
        _check_names(source, found, described)
    sidecar = Sidecar(
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
    note = msgspec.json.format(msgspec.json.encode(sidecar)) + b"\n"
    with write_errors(out, "choose another --out"):
        out.parent.mkdir(parents=True, exist_ok=True)
        # The engine first: its sha256 does not fit an older sidecar, should this be interrupted between the two.
        write_all_atomic({out: found.engine, sidecar_of(out): note})
    return sidecar


def _described(engine: bytes, source: Path) -> PlanDescription:
    try:
        return describe_plan(engine, str(source))
    except DependencyError as error:
        raise DependencyError(f"{error}; or take it as it is: --untried") from error


def _check_names(source: Path, found: TrtModule, described: PlanDescription) -> None:
    for what, told, held in (
        ("inputs", found.inputs, described.names(inputs=True)),
        ("outputs", found.outputs, described.names(inputs=False)),
    ):
        if set(told) != set(held):
            raise EngineError(f"{source}: names the {what} {', '.join(told)}, its engine has {', '.join(held)}")


def _tensors(names: Sequence[str], described: PlanDescription | None) -> list[Tensor]:
    if described is None:
        return [Tensor(name) for name in names]
    known = {tensor.name: tensor for tensor in described.tensors}
    return [Tensor(name, known[name].dtype, list(known[name].shape)) for name in names]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit code of nanoseg's errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="MODEL.pth", help="a TRTModule's state_dict, saved")
    parser.add_argument("--out", type=Path, required=True, metavar="X.engine", help="the engine to write")
    parser.add_argument("--module", metavar="PREFIX", help="which TRTModule, where the file holds several")
    parser.add_argument("--untried", action="store_true", help="do not load it: for a machine without TensorRT")
    options = parser.parse_args(argv)

    def work() -> None:
        sidecar = import_engine(options.source, options.out, options.module, options.untried)
        tried = f"tried with {sidecar.tensorrt}" if sidecar.tried else "untried"
        print(f"{options.out}: {sidecar.bytes / 1e6:.1f} MB, {tried}")

    return run_tool("import_torch2trt", work)
