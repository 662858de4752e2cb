"""Load ONNX files that any exporter wrote."""

from __future__ import annotations

import math
from pathlib import Path

import onnx

from nanoseg.bundle.external_data import MAX_INSIDE_BYTES, check_external_data, with_weights
from nanoseg.errors import BundleError, first_line
from nanoseg.onnx_graphs.model.sort import sort_nodes
from nanoseg.utils.describe_file import ONNX, UNKNOWN, describe_file
from nanoseg.utils.names import utf8_path

# Part of an operator's name: TensorRT's plugins are in no domain of their own, others end with NonMaxSuppression.
NMS = ("EfficientNMS", "BatchedNMS", "NonMaxSuppression", "NMS_TRT", "TRT_NMS")

MAX_NUMBERS = 1 << 27  # of an input or output; a picture of 4096 x 4096 has less than half


def read_model(path: str | Path) -> onnx.ModelProto:
    """Return the model in a file, with external weights loaded; weights are no inputs of it.

    Raises:
        BundleError: the file is missing, cut short or no valid ONNX model.
    """
    path = Path(path)
    if not path.exists():
        raise BundleError(f"{path}: no such file; export the network first")
    kind = describe_file(path)
    if kind.name not in (ONNX, UNKNOWN):
        raise BundleError(f"{path}: wanted an ONNX model, got {kind.text}")
    external = check_external_data(path)
    try:
        if external and sum(file.stat().st_size for file in external) < MAX_INSIDE_BYTES:
            model = onnx.load_model_from_string(with_weights(path))  # onnx reads no files that are links
        else:
            with utf8_path(path) as name:
                model = onnx.load(name)
        for value in (*model.graph.input, *model.graph.output):
            _check_declared(value)
        if (cyclic := sort_nodes(model.graph)) is not None:
            raise ValueError(f"a cycle: '{cyclic}' depends on itself")
        if not all(value.type.tensor_type.HasField("shape") for value in model.graph.output):
            model = onnx.shape_inference.infer_shapes(model)  # the checker wants output shapes
        # A truncated file can still parse. The checker knows no plugins: those are dropped with what is pruned.
        if not nms_operators(model):
            onnx.checker.check_model(model)
    except Exception as error:  # onnx raises protobuf's errors, which have no public base
        raise BundleError(f"{path}: wanted an ONNX model, got {first_line(error)}") from error
    # Older exporters list weights among the inputs, too, as the first IR versions required.
    weights = {weight.name for weight in model.graph.initializer}
    for value in [value for value in model.graph.input if value.name in weights]:
        model.graph.input.remove(value)
    return model


def _check_declared(value: onnx.ValueInfoProto) -> None:
    """Raise ValueError where an input or output has a type or size that no tensor has; onnx's checker accepts them."""
    tensor = value.type.tensor_type
    if value.type.HasField("tensor_type") and tensor.elem_type not in onnx.TensorProto.DataType.values():
        raise ValueError(f"'{value.name}' of the data type {tensor.elem_type}, which is none")
    dims = [dim.dim_value for dim in tensor.shape.dim]
    if min(dims, default=0) < 0 or math.prod(max(dim, 1) for dim in dims) > MAX_NUMBERS:
        raise ValueError(f"'{value.name}' of shape ({', '.join(map(str, dims))})")


def nms_operators(model: onnx.ModelProto) -> list[str]:
    """Return the names of a network's NMS operators: nanoseg adds its own, exact and with static shapes."""
    return sorted({node.op_type for node in model.graph.node if is_nms(node)})


def is_nms(node: onnx.NodeProto) -> bool:
    """Return whether a node suppresses boxes."""
    return any(name in node.op_type for name in NMS)
