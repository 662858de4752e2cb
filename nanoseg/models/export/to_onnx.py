"""A torch module -> a slimmed ONNX file that ONNX Runtime has run and found equal to torch."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nanoseg.errors import BundleError, DependencyError, needs
from nanoseg.onnx_graphs.model.builder import OPSET
from nanoseg.onnx_graphs.model.run import Session
from nanoseg.utils.files import check_writable, move_into_place, write_errors
from nanoseg.utils.folders import temporary_folder


def export_onnx(
    module: nn.Module,
    args: Mapping[str, Tensor],
    path: str | Path,
    output_names: Sequence[str],
    dynamic_axes: Mapping[str, Mapping[int, str]] | None = None,
    atol: float | Mapping[str, float] = 1e-4,
    feeds_to_check: Sequence[Mapping[str, Tensor]] = (),
    metadata: Mapping[str, str] | None = None,
    fold_limit_bytes: int | None = None,
) -> Path:
    """Write `module` as ONNX (opset 19, slimmed, one file) to `path` and return it.

    `args` names the inputs, in the order of `forward`'s parameters, with tensors to trace by.
    `dynamic_axes` is {input: {axis: name}}; trace a dynamic axis with 2 or more, as torch.export takes
    0 and 1 for constants. ONNX Runtime must agree with torch within `atol` (one number, or one an output)
    on `args` and on each of `feeds_to_check` before the file is moved in place: `path` never holds an
    unchecked file. `metadata` becomes the file's metadata_props.
    A constant larger than `fold_limit_bytes` stays the few nodes that compute it: the file is smaller, and
    whoever loads it folds it then.

    Raises BundleError where the outputs differ, UsageError where `path` cannot be written, DependencyError without
    onnxscript, onnxslim or onnxruntime.
    """
    path = Path(path)
    check_writable(path)
    was_training = module.training
    module.eval()
    try:
        with write_errors(path, "choose another --out"), temporary_folder(path) as folder:
            raw, slimmed = folder / "raw.onnx", folder / "slim.onnx"
            _trace(module, args, raw, output_names, dynamic_axes or {})
            _slim(raw, slimmed, metadata or {}, fold_limit_bytes)
            _check(module, (args, *feeds_to_check), slimmed, output_names, atol, path)
            move_into_place(slimmed, path)
    finally:
        module.train(was_training)
    return path


def _trace(
    module: nn.Module,
    args: Mapping[str, Tensor],
    path: Path,
    output_names: Sequence[str],
    dynamic_axes: Mapping[str, Mapping[int, str]],
) -> None:
    dims = {name: torch.export.Dim(name) for axes in dynamic_axes.values() for name in axes.values()}
    shapes = tuple({axis: dims[name] for axis, name in dynamic_axes.get(key, {}).items()} or None for key in args)
    with _silence(), torch.no_grad():
        try:
            torch.onnx.export(
                module,
                tuple(args.values()),
                str(path),
                input_names=list(args),
                output_names=list(output_names),
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
                dynamic_shapes=shapes if dims else None,
                custom_translation_table={torch.ops.aten.gelu.default: _gelu()},
            )
        except ImportError as error:
            raise DependencyError(f'{error.name} is not installed: pip install "nanoseg[export]"') from error


def _gelu() -> Callable[..., Any]:
    """GELU as x * (1 + erf(x / sqrt 2)) * 0.5, in the order that ONNX Runtime fuses into one kernel.

    The exporter's own order is not fused: SAM's mask decoder then takes a fifth longer on a CPU.
    """
    import onnxscript
    from onnxscript import opset19

    op: Any = opset19  # its type variables know no chained calls

    def aten_gelu(self: onnxscript.FLOAT, approximate: str = "none") -> Any:
        if approximate != "none":
            raise BundleError(f"GELU: wanted the exact form, got approximate={approximate!r}; export by another way")
        erf = op.Erf(op.Div(self, op.Constant(value_float=math.sqrt(2))))
        return op.Mul(op.Mul(self, op.Add(erf, op.Constant(value_float=1.0))), op.Constant(value_float=0.5))

    return aten_gelu


@contextmanager
def _silence() -> Iterator[None]:
    """Neither torch's warnings of its own deprecations nor its log: a caller can do nothing about them."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _slim(source: Path, target: Path, metadata: Mapping[str, str], fold_limit_bytes: int | None) -> None:
    with needs("onnxslim", "bundle"):
        import onnxslim
    model = onnxslim.slim(str(source), size_threshold=fold_limit_bytes)
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    # Written here and not by onnxslim, which would print a table.
    target.write_bytes(model.SerializeToString())


def _check(
    module: nn.Module,
    feeds: Sequence[Mapping[str, Tensor]],
    written: Path,
    output_names: Sequence[str],
    atol: float | Mapping[str, float],
    path: Path,
) -> None:
    session = Session(written, str(path))
    for number, feed in enumerate(feeds):
        where = f"{path}: feed {number}"
        got = session(output_names, {name: value.numpy() for name, value in feed.items()})
        with torch.no_grad():
            outputs = module(*feed.values())
        wanted = outputs if isinstance(outputs, tuple | list) else (outputs,)
        for (name, have), want in zip(got.items(), wanted, strict=True):
            limit = atol[name] if isinstance(atol, Mapping) else atol
            if have.shape != tuple(want.shape):
                shapes = f"{have.shape} in ONNX and {tuple(want.shape)} in torch"
                raise BundleError(f"{where}: '{name}' is {shapes}; not written")
            apart = float(np.abs(have - want.numpy()).max(initial=0.0))
            if not apart <= limit:  # so that NaN fails as well
                told = f"differs from torch by {apart:.3g}, limit {limit:.3g}"
                raise BundleError(f"{where}: '{name}' {told}; not written")
