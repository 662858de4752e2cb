"""Inputs of a detector beside the image, such as DETR's pixel_mask, filled with constants of the detector spec."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.adapt.detector_spec import DetectorSpec
from nanoseg.onnx_graphs.model.shapes import dtype_of, format_shape, shape_of


def fill_constant_inputs(path: Path, model: onnx.ModelProto, spec: DetectorSpec, size_px: int | None = None) -> None:
    """Replace inputs, in place, by the constants of the spec's [constants].

    A batch that the file leaves open becomes 1, and open sides those of the image.

    Args:
        path: the network's file, for messages.
        model: the network, which is changed.
        spec: its spec.
        size_px: side of the image, where the file leaves it open.

    Raises:
        BundleError: the network has no such input, or it has another shape.
    """
    inputs = {value.name: value for value in model.graph.input}
    image = next((value for name, value in inputs.items() if name not in spec.constants), None)
    side = size_px or spec.input.size_px or max((dim or 0 for dim in (shape_of(image) if image else ())), default=0)
    for name, number in spec.constants.items():
        if name not in inputs:
            raise BundleError(
                f"{path}: [constants] of the detector spec wants the input {name}, got {', '.join(inputs) or 'none'}"
            )
        value = inputs[name]
        sides = shape_of(value)
        dims = [dim or (1 if axis == 0 or len(sides) < 3 or not side else side) for axis, dim in enumerate(sides)]
        dtype = helper.tensor_dtype_to_np_dtype(dtype_of(value))
        if dtype.kind not in "iubf":
            raise BundleError(f"{path}: '{name}' wants {dtype.name}, which [constants] cannot fill")
        given = np.asarray(number, np.float64)
        if dtype.kind in "iub" and (given != np.rint(given)).any():
            raise BundleError(f"{path}: '{name}' wants whole numbers, got {number} in [constants]")
        if not _fits(given, dtype):
            raise BundleError(f"{path}: '{name}' wants {dtype.name}, got {number} in [constants], which does not fit")
        try:
            filled = np.broadcast_to(given, dims) if given.size != np.prod(dims) else given.reshape(dims)
        except ValueError as error:
            raise BundleError(
                f"{path}: '{name}' wants {format_shape(sides)}, got {given.size} numbers in [constants]"
            ) from error
        model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(filled.astype(dtype)), name))
        model.graph.input.remove(value)


def _fits(given: np.ndarray, dtype: np.dtype) -> bool:
    """Return whether float64 numbers are in the range of a type; infinity is in that of floats."""
    if dtype.kind == "f":
        return not (np.abs(given[np.isfinite(given)]) > float(np.finfo(dtype).max)).any()
    low, end = (0, 2) if dtype.kind == "b" else (np.iinfo(dtype).min, int(np.iinfo(dtype).max) + 1)
    return bool(((given >= float(low)) & (given < float(end))).all())
