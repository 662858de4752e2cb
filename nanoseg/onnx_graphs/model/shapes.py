"""What shape a network's tensors have: as its file says, as follows from its operators, or as measured by a run."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, shape_inference

from nanoseg.processing.geometry import CELL_PX
from nanoseg.types import BACKGROUND, BOTTOM_RIGHT, FOREGROUND, PADDING, TOP_LEFT

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)
# Those that every decoder knows, with a box where there are two points.
LABELS = (TOP_LEFT, BOTTOM_RIGHT, FOREGROUND, BACKGROUND, PADDING)
Known = tuple[int | None, ...]  # None is a side that varies, or that nobody knows


def shape_of(value: onnx.ValueInfoProto) -> Known:
    """The sides of an input or output."""
    sides = value.type.tensor_type.shape.dim
    return tuple(side.dim_value if side.HasField("dim_value") else None for side in sides)


def dtype_of(value: onnx.ValueInfoProto) -> int:
    """One of TensorProto's data types."""
    return int(value.type.tensor_type.elem_type)


def dtype_name(dtype: int) -> str:
    """As numpy calls it."""
    return str(TensorProto.DataType.Name(dtype)).lower().replace("float", "float32" if dtype == 1 else "float")


def spell(shape: Sequence[int | str | None]) -> str:
    """A shape for people."""
    inner = ", ".join("any" if side is None else str(side).replace("?", "") for side in shape)
    return f"({inner})"


def settle(model: onnx.ModelProto, wanted: Mapping[str, Known]) -> None:
    """Give the inputs these sides where they have none; what was said of other tensors' shapes is forgotten."""
    changed = False
    for value in model.graph.input:
        sides = value.type.tensor_type.shape.dim
        want = wanted.get(value.name, ())
        if len(want) == len(sides):
            for side, length in zip(sides, want, strict=True):
                if length is not None and not side.HasField("dim_value"):
                    side.dim_value, changed = length, True
    if changed:
        del model.graph.value_info[:]
        for output in model.graph.output:
            for side in output.type.tensor_type.shape.dim:
                side.ClearField("dim_param")


def with_output_shapes(path: Path, model: onnx.ModelProto, free: Mapping[str, Container[int]]) -> onnx.ModelProto:
    """The same network, its outputs with all the sides that can be found out, but for those that may stay open.

    `free` has the places of these by output. Raises BundleError, naming `path`, where only a run could tell, and fails.
    """
    if not _unknown(model, free):
        return model
    model = shape_inference.infer_shapes(model, data_prop=True)
    if _unknown(model, free):
        _measure(path, model)
    return model


def some_feeds(model: onnx.ModelProto, free: int = 2) -> dict[str, np.ndarray]:
    """Inputs of noise, the same at each call; sides that vary are `free` long.

    Inputs that are called as a mask decoder's are of its kind: what it does with a label is seen by labels alone.
    """
    rng = np.random.default_rng(free)
    grid = next((shape_of(value)[-1] for value in model.graph.input if value.name == "image_embeddings"), None)
    feeds = {}
    for value in model.graph.input:
        dtype = helper.tensor_dtype_to_np_dtype(dtype_of(value))
        noise = rng.random([free if side is None else side for side in shape_of(value)])
        if value.name == "point_labels":
            noise = np.resize(LABELS, noise.shape)
        elif value.name == "has_mask_input":
            noise = np.resize([1, 0], noise.shape)
        elif value.name == "mask_input":
            noise = noise * 16 - 8
        elif value.name == "point_coords":
            noise = noise * CELL_PX * (grid or 1)
        elif np.issubdtype(dtype, np.integer):
            noise = noise * 255
        feeds[value.name] = noise.astype(dtype)
    return feeds


def _unknown(model: onnx.ModelProto, free: Mapping[str, Container[int]]) -> bool:
    return any(
        not dtype_of(value)
        or not shape_of(value)
        or any(side is None and at not in free.get(value.name, ()) for at, side in enumerate(shape_of(value)))
        for value in model.graph.output
    )


def _measure(path: Path, model: onnx.ModelProto) -> None:
    """Sides that are the same in two runs with inputs of other lengths are taken for fixed."""
    from nanoseg.onnx_graphs.model.run import run_model  # not above: it needs this module

    varies = any(None in shape_of(value) for value in model.graph.input)
    runs = [run_model(model, some_feeds(model, free), str(path)) for free in ((2, 3) if varies else (2,))]
    for value in model.graph.output:
        shapes = [run[value.name].shape for run in runs]
        if len({len(shape) for shape in shapes}) > 1:
            continue
        same = [sides[0] if len(set(sides)) == 1 else None for sides in zip(*shapes, strict=True)]
        dtype = helper.np_dtype_to_tensor_dtype(runs[0][value.name].dtype)
        value.CopyFrom(helper.make_tensor_value_info(value.name, dtype, same))
