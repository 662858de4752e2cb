"""Export a torch module to a simplified ONNX file whose results equal torch's."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nanoseg.errors import BundleError, DependencyError, needs
from nanoseg.models.export.compare_with_torch import check_same_outputs
from nanoseg.onnx_graphs.model.builder import OPSET
from nanoseg.utils.files import check_writable, move_into_place, scratch_path, write_errors
from nanoseg.utils.leftovers import temporary_folder


def export_onnx(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    path: str | Path,
    output_names: Sequence[str],
    *,
    dynamic_axes: Mapping[str, Mapping[int, str]] | None = None,
    inputs_to_check: Sequence[Mapping[str, Tensor]] = (),
    metadata: Mapping[str, str] | None = None,
    fold_limit_bytes: int | None = None,
) -> Path:
    """Write `module` as one ONNX file (opset 19, simplified) and return its path.

    The file is moved in place only after ONNX Runtime has run it with the same results as torch, see
    `check_same_outputs`.

    Args:
        module: The network.
        inputs: Tensors to trace with, by name, in the order of `forward`'s parameters. A dynamic axis must have size 2
            or more in them, as torch.export takes 0 and 1 for constants.
        path: The file to write.
        output_names: Names of the outputs.
        dynamic_axes: {input: {axis: name}}.
        inputs_to_check: Further inputs to compare ONNX Runtime and torch with.
        metadata: metadata_props of the file.
        fold_limit_bytes: Larger constants stay the nodes that compute them, which makes the file smaller; a runtime
            folds them when it loads the file.

    Raises:
        BundleError: The outputs differ.
        UsageError: `path` cannot be written.
        DependencyError: onnxscript, onnxslim or onnxruntime is not installed.
    """
    path = Path(path)
    check_writable(path)
    was_training = module.training
    module.eval()
    try:
        with write_errors(path, "choose another --out"), temporary_folder(scratch_path(path)) as folder:
            raw, slimmed = folder / "raw.onnx", folder / "slim.onnx"
            _trace(module, inputs, raw, output_names, dynamic_axes or {})
            _slim(raw, slimmed, metadata or {}, fold_limit_bytes)
            check_same_outputs(module, (inputs, *inputs_to_check), slimmed, output_names, path)
            move_into_place(slimmed, path)
    finally:
        module.train(was_training)
    return path


def _trace(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    path: Path,
    output_names: Sequence[str],
    dynamic_axes: Mapping[str, Mapping[int, str]],
) -> None:
    dims = {name: torch.export.Dim(name) for axes in dynamic_axes.values() for name in axes.values()}
    shapes = tuple({axis: dims[name] for axis, name in dynamic_axes.get(key, {}).items()} or None for key in inputs)
    with _no_warnings(), torch.no_grad():
        try:
            torch.onnx.export(
                module,
                tuple(inputs.values()),
                str(path),
                input_names=list(inputs),
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
    """Return GELU as x * (1 + erf(x / sqrt 2)) * 0.5, in the order that ONNX Runtime fuses into one kernel.

    The exporter's own order is not fused: SAM's mask decoder would take a fifth longer on a CPU.
    """
    import onnxscript
    from onnxscript import opset19

    op: Any = opset19  # its type annotations do not allow nested calls

    def aten_gelu(self: onnxscript.FLOAT, approximate: str = "none") -> Any:
        if approximate != "none":
            raise BundleError(f"GELU: wanted the exact form, got approximate={approximate!r}")
        erf = op.Erf(op.Div(self, op.Constant(value_float=math.sqrt(2))))
        return op.Mul(op.Mul(self, op.Add(erf, op.Constant(value_float=1.0))), op.Constant(value_float=0.5))

    return aten_gelu


@contextmanager
def _no_warnings() -> Iterator[None]:
    """Suppress torch's warnings of its own deprecations and its log: a caller can do nothing about them."""
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
    # Not written by onnxslim, which would print a table.
    target.write_bytes(model.SerializeToString())
