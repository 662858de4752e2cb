"""Compare an exported file with torch: neither may be further from float64 than float32's own rounding explains.

How far float32 is from float64 depends on weights and image: 1e-4 px for random weights of YOLO-NAS, 2e-2 px for
trained BatchNorms on noise. So no fixed limit tells a sound file from a faulty one; torch's own error does.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.model.run import Session

# Times torch's own error. On YOLO-NAS ONNX Runtime's was 0.5 to 2.0 times it, as it sums in another order.
MAX_RATIO, RMS_RATIO = 12, 6
# Of an output's size, and at least: a sigmoid near 0 is exact to a step of numbers near 1.
FLOOR, STEPS = 2e-6, 5e-7


def check_same_outputs(
    module: nn.Module,
    examples: Sequence[Mapping[str, Tensor]],
    exported: Path,
    output_names: Sequence[str],
    path: Path,
) -> None:
    """Check that ONNX Runtime computes what a module computes, as exactly as torch does in float32.

    Args:
        module: The network, in eval mode.
        examples: Inputs by name, in the order of `forward`'s parameters.
        exported: The ONNX file.
        output_names: Names of the outputs.
        path: What messages call the file.

    Raises:
        BundleError: An output's shape or values differ.
    """
    session = Session(exported, str(path))
    exact = copy.deepcopy(module).double()
    for number, inputs in enumerate(examples):
        where = f"{path}: example {number}"
        results = session(output_names, {name: value.numpy() for name, value in inputs.items()})
        with torch.no_grad():
            float32 = _outputs(module(*inputs.values()))
            float64 = _outputs(exact(*(value.double() for value in inputs.values())))
        for name, own, reference in zip(output_names, float32, float64, strict=True):
            result = results[name]
            if result.shape != own.shape:
                shapes = f"{result.shape} in ONNX and {own.shape} in torch"
                raise BundleError(f"{where}: '{name}' is {shapes}; not written")
            if problem := _difference(result, own, reference):
                raise BundleError(f"{where}: '{name}' differs from torch by {problem}; not written")


def _outputs(outputs: Tensor | Sequence[Tensor]) -> list[np.ndarray]:
    return [value.numpy() for value in (outputs if isinstance(outputs, tuple | list) else (outputs,))]


def _difference(result: np.ndarray, own: np.ndarray, reference: np.ndarray) -> str:
    """Return by how much a result is too far from the float64 reference, else an empty string.

    The largest error finds what is wrong in one place, the root mean square what is a little wrong everywhere.
    """
    error, noise, size = np.abs(result - reference), np.abs(own - reference), np.abs(reference)
    for kind, ratio, of in (("", MAX_RATIO, _largest), (" on average", RMS_RATIO, _root_mean_square)):
        limit = ratio * of(noise) + max(FLOOR * of(size), STEPS)
        if not of(error) <= limit:  # so that NaN fails as well
            return f"{of(error):.3g}{kind}, limit {limit:.3g} by float32's own error of {of(noise):.3g}"
    return ""


def _largest(values: np.ndarray) -> float:
    return float(values.max(initial=0.0))


def _root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt(np.square(values).mean())) if values.size else 0.0
