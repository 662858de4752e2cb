"""Quantization as other software writes it: what TensorRT builds is taken, the rest refused with what to do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.int8.qdq import constants_of
from nanoseg.onnx_graphs.model.nodes import CONVOLUTIONS, QDQ_OPERATORS, all_nodes

# Kinds of quantization that TensorRT does not build, by their operators; onnxruntime's are of its own domain.
DYNAMIC = ("ConvInteger", "MatMulInteger", "DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM")
OPERATORS = ("QLinear", "QGemm", "QAttention", "MatMulNBits")  # prefixes
PRODUCTS = ("Gemm", "MatMul")  # of two matrices, either of which may be the weight
ADVICE = (
    "quantize the float32 network again, static and symmetric (onnxruntime: quantize_static with QuantFormat.QDQ, "
    "QInt8 for activations and weights, ActivationSymmetric and WeightSymmetric), or by nanoseg quantize"
)


def check_quantization(path: Path, model: onnx.ModelProto) -> None:
    """Check that a network is quantized by Q/DQ nodes to INT8 with zero points of 0, or not at all.

    Raises:
        BundleError: it is quantized in another way, which no TensorRT builds.
    """
    names = {node.op_type for node in all_nodes(model.graph)}
    wanted = f"{path}: wanted floats, or INT8 by Q/DQ nodes"
    if dynamic := sorted(names & set(DYNAMIC)):
        raise BundleError(f"{wanted}, got dynamic quantization, {', '.join(dynamic)}, which TensorRT lacks; {ADVICE}")
    if operators := sorted(name for name in names if name.startswith(OPERATORS)):
        raise BundleError(f"{wanted}, got the operators {', '.join(operators)}, which TensorRT lacks; {ADVICE}")
    if not names & QDQ_OPERATORS:
        return
    constants = constants_of(model.graph)
    for node in all_nodes(model.graph):
        if node.op_type not in QDQ_OPERATORS:
            continue
        zero = constants.get(node.input[2]) if len(node.input) > 2 else None
        dtype = _quantized_type(node, zero, constants)
        if dtype not in (None, TensorProto.INT8, *([TensorProto.INT32] if node.op_type == "DequantizeLinear" else [])):
            name = TensorProto.DataType.Name(dtype)
            raise BundleError(f"{wanted}, got {name} at '{node.output[0]}', which TensorRT does not build; {ADVICE}")
        if zero is not None and zero.data_type in (TensorProto.INT8, TensorProto.INT32):
            values = numpy_helper.to_array(zero)
            if values.any():
                got = int(values.ravel()[np.flatnonzero(values)[0]])
                raise BundleError(f"{wanted} with zero points of 0, got {got} at '{node.output[0]}'; {ADVICE}")


def fold_constants(model: onnx.ModelProto) -> None:
    """Replace quantized constants that are no weights, such as INT32 biases, by floats, in place: as TensorRT needs."""
    graph = model.graph
    constants = constants_of(graph)
    weights = {node.input[1] for node in graph.node if node.op_type in CONVOLUTIONS}
    weights |= {name for node in graph.node if node.op_type in PRODUCTS for name in node.input[:2]}
    kept = []
    for node in graph.node:
        tensor = constants.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        scale = constants.get(node.input[1]) if tensor is not None else None
        if tensor is None or scale is None or (tensor.data_type == TensorProto.INT8 and node.output[0] in weights):
            kept.append(node)
            continue
        numbers, steps = numpy_helper.to_array(tensor), numpy_helper.to_array(scale)
        if steps.size > 1:
            axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
            axis = axis if -numbers.ndim <= axis < numbers.ndim else 0  # a bias has one
            steps = steps.reshape([-1 if at == axis % numbers.ndim else 1 for at in range(numbers.ndim)])
        floats = (numbers.astype(np.float64) * steps).astype(numpy_helper.to_array(scale).dtype)
        graph.initializer.append(numpy_helper.from_array(floats, node.output[0]))
    del graph.node[:]
    graph.node.extend(kept)


def _quantized_type(node: onnx.NodeProto, zero: TensorProto | None, constants: Mapping[str, TensorProto]) -> int | None:
    """Return the type that a Q/DQ node quantizes to, or from; None where another node says it."""
    if zero is not None:
        return int(zero.data_type)
    if node.op_type == "DequantizeLinear":
        return int(constants[node.input[0]].data_type) if node.input[0] in constants else None
    stated = [helper.get_attribute_value(each) for each in node.attribute if each.name == "output_dtype"]
    has_zero_point = len(node.input) > 2 and node.input[2]
    return int(stated[0]) if stated and stated[0] else None if has_zero_point else int(TensorProto.UINT8)
