"""Shapes of a network's tensors: as its file declares them, as inferred, or as measured by a run."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, shape_inference

from nanoseg.onnx_graphs.model.run import run_model
from nanoseg.processing.geometry import CELL_PX
from nanoseg.types import BACKGROUND, BOTTOM_RIGHT, FOREGROUND, PADDING, TOP_LEFT

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)
# The point labels that every decoder knows; of two points they are a box.
LABELS = (TOP_LEFT, BOTTOM_RIGHT, FOREGROUND, BACKGROUND, PADDING)
Dims = tuple[int | None, ...]  # None is a dynamic or unknown dimension


def shape_of(value: onnx.ValueInfoProto) -> Dims:
    """Return the dims of an input, output or intermediate tensor."""
    dims = value.type.tensor_type.shape.dim
    return tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in dims)


def dtype_of(value: onnx.ValueInfoProto) -> int:
    """Return a tensor's data type, one of TensorProto.DataType."""
    return int(value.type.tensor_type.elem_type)


def dtype_name(dtype: int) -> str:
    """Return numpy's name of a TensorProto.DataType."""
    return str(TensorProto.DataType.Name(dtype)).lower().replace("float", "float32" if dtype == 1 else "float")


def format_shape(shape: Sequence[int | str | None]) -> str:
    """Return a shape as messages show it: `(1, 3, any, any)`."""
    inner = ", ".join("any" if dim is None else str(dim).replace("?", "") for dim in shape)
    return f"({inner})"


def set_input_dims(model: onnx.ModelProto, wanted: Mapping[str, Dims]) -> None:
    """Fix the dynamic dims of some inputs, in place; the shapes declared for all other tensors are dropped.

    Args:
        model: the network, which is changed.
        wanted: dims by input; None leaves a dimension as it is, and so does another rank.
    """
    changed = False
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        want = wanted.get(value.name, ())
        if len(want) == len(dims):
            for dim, length in zip(dims, want, strict=True):
                if length is not None and not dim.HasField("dim_value"):
                    dim.dim_value, changed = length, True
    if changed:
        del model.graph.value_info[:]
        for output in model.graph.output:
            for dim in output.type.tensor_type.shape.dim:
                dim.ClearField("dim_param")


def infer_output_shapes(path: Path, model: onnx.ModelProto, dynamic: Mapping[str, Container[int]]) -> onnx.ModelProto:
    """Return the network with its outputs' dims filled in, by inference or, where that fails, by running it.

    Args:
        path: the network's file, for messages.
        model: the network, which may be changed.
        dynamic: axes that may stay dynamic, by output.

    Raises:
        BundleError: the network has to be run, and does not run.
    """
    if not _has_unknown_outputs(model, dynamic):
        return model
    model = shape_inference.infer_shapes(model, data_prop=True)
    if _has_unknown_outputs(model, dynamic):
        _measure_output_shapes(path, model)
    return model


def random_feeds(model: onnx.ModelProto, dynamic_dim: int = 2) -> dict[str, np.ndarray]:
    """Return random inputs for a network, the same at each call.

    Inputs with a mask decoder's names get values of the decoder's kind: point labels are valid labels, for example.

    Args:
        model: the network.
        dynamic_dim: length of every dynamic dimension; it is the seed, too.
    """
    rng = np.random.default_rng(dynamic_dim)
    grid = next((shape_of(value)[-1] for value in model.graph.input if value.name == "image_embeddings"), None)
    feeds = {}
    for value in model.graph.input:
        dtype = helper.tensor_dtype_to_np_dtype(dtype_of(value))
        noise = rng.random([dynamic_dim if dim is None else dim for dim in shape_of(value)])
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


def _has_unknown_outputs(model: onnx.ModelProto, dynamic: Mapping[str, Container[int]]) -> bool:
    return any(
        not dtype_of(value)
        or not shape_of(value)
        or any(dim is None and axis not in dynamic.get(value.name, ()) for axis, dim in enumerate(shape_of(value)))
        for value in model.graph.output
    )


def _measure_output_shapes(path: Path, model: onnx.ModelProto) -> None:
    """Declare the outputs' shapes as runs show them; dims equal in two runs of different inputs count as fixed."""
    is_dynamic = any(None in shape_of(value) for value in model.graph.input)
    runs = [run_model(model, random_feeds(model, dim), str(path)) for dim in ((2, 3) if is_dynamic else (2,))]
    for value in model.graph.output:
        shapes = [run[value.name].shape for run in runs]
        if len({len(shape) for shape in shapes}) > 1:
            continue
        same = [dims[0] if len(set(dims)) == 1 else None for dims in zip(*shapes, strict=True)]
        dtype = helper.np_dtype_to_tensor_dtype(runs[0][value.name].dtype)
        value.CopyFrom(helper.make_tensor_value_info(value.name, dtype, same))
