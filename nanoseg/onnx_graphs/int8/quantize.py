"""Post-training quantization: a float32 network and its ranges become a strongly typed network with Q/DQ nodes."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from nanoseg.errors import BundleError, UsageError
from nanoseg.onnx_graphs.int8.qdq import constants_of, insert_qdq
from nanoseg.onnx_graphs.model.builder import OPSET, build_model
from nanoseg.onnx_graphs.model.nodes import QDQ_OPERATORS, node_key
from nanoseg.onnx_graphs.model.shapes import Dims, shape_of

METADATA = "quantized"
MAX_SHAPE_CONSTANT = 64  # constants with more elements are no shapes, scales or axes


@dataclass(frozen=True)
class Layer:
    """A convolution with constant weights, not a transposed one."""

    name: str  # its weight's name in the network's definition, without ".weight"; else the node's
    key: str  # of the node, see `node_key`
    input: str  # the tensor that it reads
    weight_shape: tuple[int, ...]
    macs: int | None  # multiply-adds an image; None where shapes are dynamic


def quantizable_layers(model: onnx.ModelProto) -> tuple[Layer, ...]:
    """Return the layers that become INT8, in topological order; their names are unique."""
    weights = constants_of(model.graph)
    found = [node for node in model.graph.node if _is_layer(node, weights)]
    names = [_name(node) for node in found]
    uses = Counter(names)
    shapes = infer_shapes_by_name(model)
    return tuple(
        Layer(
            name if uses[name] == 1 else f"{name}@{node_key(node)}",
            node_key(node),
            node.input[0],
            tuple(weights[node.input[1]].dims),
            _macs(node, tuple(weights[node.input[1]].dims), shapes),
        )
        for name, node in zip(names, found, strict=True)
    )


def tensors_to_calibrate(model: onnx.ModelProto) -> list[str]:
    """Return the tensors whose ranges `quantize` needs: the layers' inputs in topological order."""
    return list(dict.fromkeys(layer.input for layer in check_layers(model)))


def quantize(
    model: onnx.ModelProto,
    ranges: Mapping[str, float],
    keep: Collection[str] = (),
    fp16_scales: bool = False,
    origin: Mapping[str, Any] | None = None,
) -> onnx.ModelProto:
    """Quantize a network's convolutions to INT8; inputs and outputs stay float32.

    Readers of a tensor that has a Q/DQ pair read it dequantized, except for kept layers, transposed convolutions and
    the box decode behind the last layers, which stay as they were. Metadata is kept; its key "quantized" gets `origin`
    and the kept layers as JSON.

    Args:
        model: a float32 network.
        ranges: the largest magnitude by tensor, from `Calibrator.ranges`.
        keep: names of layers to keep out of INT8.
        fp16_scales: use scales that are float16 numbers, so that a later conversion to float16 does not change them.
        origin: the origin of the ranges, for the metadata.

    Raises:
        BundleError: the network has no layers, is quantized already or in float16, or a range is missing.
        UsageError: `keep` has a name that is no layer's.
    """
    found = check_layers(model)
    if unknown := set(keep) - {layer.name for layer in found}:
        raise UsageError(f"keep: wanted names of layers, such as {found[0].name}, got {', '.join(sorted(unknown))}")
    chosen = [layer for layer in found if layer.name not in keep]
    check_ranges(model, chosen, ranges)
    nodes, constants = insert_qdq(model.graph, ranges, {layer.key for layer in chosen}, fp16_scales)
    graph = model.graph
    quantized = build_model(graph.name or "network", graph.input, graph.output, nodes, constants)
    quantized.metadata_props.extend(entry for entry in model.metadata_props if entry.key != METADATA)
    metadata = {**(origin or {}), "kept": [layer.name for layer in found if layer.name in keep]}
    quantized.metadata_props.add(key=METADATA, value=json.dumps(metadata, ensure_ascii=False))
    return quantized


def check_layers(model: onnx.ModelProto) -> tuple[Layer, ...]:
    """Return the layers of a network; raises BundleError where it cannot be quantized."""
    name = model.graph.name or "network"
    version = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    if version != OPSET:
        raise BundleError(f"{name}: wanted opset {OPSET}, got {version}; export it with opset {OPSET}")
    if any(node.op_type in QDQ_OPERATORS for node in model.graph.node):
        raise BundleError(f"{name}: wanted a float network, got one with Q/DQ nodes: it is quantized already")
    found = quantizable_layers(model)
    if not found:
        raise BundleError(f"{name}: wanted convolutions to quantize, got none with constant weights")
    weights = constants_of(model.graph)
    for node in model.graph.node:
        if _is_layer(node, weights):
            weight = weights[node.input[1]]
            if weight.data_type != TensorProto.FLOAT:
                kind = TensorProto.DataType.Name(weight.data_type).lower()
                raise BundleError(
                    f"{name}: '{weight.name}' wants float32, got {kind}; quantize before converting to float16"
                )
            if not np.isfinite(numpy_helper.to_array(weight)).all():
                raise BundleError(f"{name}: '{weight.name}' holds NaN or infinity; export it anew")
    return found


def check_ranges(model: onnx.ModelProto, chosen: Collection[Layer], ranges: Mapping[str, float]) -> None:
    """Raise BundleError unless the input of each of these layers has a finite range that is not negative."""
    for layer in chosen:
        amax = ranges.get(layer.input)
        if amax is None or not 0 <= amax < math.inf:
            got = "none" if amax is None else f"{amax}"
            raise BundleError(
                f"{model.graph.name or 'network'}: layer {layer.name} wants a range of '{layer.input}', got {got}; "
                "calibrate this very network"
            )


def infer_shapes_by_name(model: onnx.ModelProto) -> dict[str, Dims]:
    """Return the shapes of all tensors for which inference finds any."""
    # Inference copies the model, and does not need the values of weights.
    light = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    light.graph.node.extend(model.graph.node)
    light.graph.input.extend(model.graph.input)
    light.graph.output.extend(model.graph.output)
    for weight in model.graph.initializer:
        if math.prod(weight.dims) > MAX_SHAPE_CONSTANT:
            light.graph.input.append(helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims))
        else:
            light.graph.initializer.append(weight)
    known = onnx.shape_inference.infer_shapes(light, data_prop=True).graph
    return {value.name: shape_of(value) for value in (*known.input, *known.value_info, *known.output)}


def _is_layer(node: onnx.NodeProto, weights: Collection[str]) -> bool:
    return node.op_type == "Conv" and node.input[1] in weights and node.input[0] not in weights


def _name(node: onnx.NodeProto) -> str:
    name: str = node.input[1]
    return name.removesuffix(".weight") if name.endswith(".weight") else node.name or node_key(node)


def _macs(node: onnx.NodeProto, weight: tuple[int, ...], shapes: Mapping[str, Dims]) -> int | None:
    """Count multiply-adds: each weight is used once a pixel of the output."""
    shape = shapes.get(node.output[0], ())
    pixels = [dim for dim in (*shape[:1], *shape[2:]) if dim is not None]
    return math.prod(weight) * math.prod(pixels) if len(shape) > 2 and len(pixels) == len(shape) - 1 else None
