"""Write a TensorRT engine as the state_dict of a torch2trt TRTModule, for code that loads those.

examples:
  python tools/export_torch2trt.py encoder.engine --out encoder_trt.pth
  python tools/export_torch2trt.py encoder.engine --inputs image --outputs image_embeddings --out encoder_trt.pth

Where the file goes: module = TRTModule(); module.load_state_dict(torch.load("encoder_trt.pth")). The names come from
X.engine.json where import_torch2trt left one, else from the flags, in the order in which the module shall take and
give its tensors.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from nanoseg.commands.run_tool import run_tool
from nanoseg.commands.torch2trt.import_module import Sidecar, Tensor, sidecar_of
from nanoseg.errors import EngineError, UsageError, needs
from nanoseg.utils.files import file_ids


def export_engine(engine: Path, out: Path, inputs: Sequence[str] = (), outputs: Sequence[str] = ()) -> Path:
    """Write `engine` to `out` as torch2trt saves it; names that are not given come from the engine's sidecar.

    Raises EngineError for an engine that is not there, or not the one of its sidecar, UsageError without names and
    for an `out` that is the engine or its sidecar, DependencyError without torch.
    """
    with needs("torch", "export"):
        from nanoseg.models.torch2trt import TrtModule, write_trt_module
    if file_ids([out]) & file_ids([engine, sidecar_of(engine)]):
        raise UsageError(f"--out: {out} would be written over the engine or its sidecar; give another name")
    try:
        plan = engine.read_bytes()
    except OSError as error:
        raise EngineError(f"{engine}: cannot be read: {error.strerror}") from error
    if not plan:
        raise EngineError(f"{engine}: wanted a serialized engine, got an empty file")
    sidecar = _sidecar(engine, plan)
    names = {"inputs": list(inputs), "outputs": list(outputs)}
    for key, given in names.items():
        listed: list[Tensor] = getattr(sidecar, key) if sidecar else []
        known = [tensor.name for tensor in listed]
        names[key] = given or known
        if not names[key]:
            raise UsageError(f"--{key}: wanted the names of the engine's {key}, as {sidecar_of(engine)} is not there")
        if known and sorted(given or known) != sorted(known):
            raise UsageError(f"--{key}: wanted {', '.join(known)} of {sidecar_of(engine)}, got {', '.join(given)}")
    return write_trt_module(TrtModule(plan, tuple(names["inputs"]), tuple(names["outputs"])), out)


def _sidecar(engine: Path, plan: bytes) -> Sidecar | None:
    path = sidecar_of(engine)
    if not path.exists():
        return None
    try:
        sidecar = msgspec.json.decode(path.read_bytes(), type=Sidecar)
    except (OSError, msgspec.MsgspecError) as error:
        raise EngineError(f"{path}: wanted the sidecar of an engine, got {error}; import the engine anew") from error
    if sidecar.sha256 != hashlib.sha256(plan).hexdigest():
        raise EngineError(f"{engine}: is not the engine of {path}: their sha256 differ; import it anew")
    return sidecar


def main(argv: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit code of nanoseg's errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", type=Path, metavar="X.engine", help="a serialized TensorRT engine")
    parser.add_argument("--out", type=Path, required=True, metavar="MODEL.pth", help="the file to write")
    for key in ("inputs", "outputs"):
        parser.add_argument(f"--{key}", default="", metavar="A,B", help=f"its {key}; default: those of X.engine.json")
    options = parser.parse_args(argv)
    inputs, outputs = (
        [name.strip() for name in text.split(",") if name.strip()] for text in (options.inputs, options.outputs)
    )
    return run_tool("export_torch2trt", lambda: print(export_engine(options.engine, options.out, inputs, outputs)))
