"""Post-training INT8: a float32 network and its tensors' ranges -> the same with explicit Q/DQ, strongly typed."""

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
from nanoseg.onnx_graphs.int8.qdq import insert_qdq, weights_of
from nanoseg.onnx_graphs.model.builder import OPSET, build_model
from nanoseg.onnx_graphs.model.nodes import CONVOLUTIONS, QDQ_OPERATORS, node_key
from nanoseg.onnx_graphs.model.shapes import Dims, shape_of

METADATA = "quantized"
LONGEST_SHAPE = 64  # more numbers than this are no shape, scale or axes


@dataclass(frozen=True)
class Layer:
    """A convolution with constant weights."""

    name: str  # its weights', as the network's definition calls them, without ".weight"; else the node's
    op: str  # Conv or ConvTranspose
    key: str  # of the node, see `node_key`
    input: str  # the tensor that it reads
    weight_shape: tuple[int, ...]
    macs: int | None  # multiply-adds a picture; None where shapes are open


def quantizable_layers(model: onnx.ModelProto) -> tuple[Layer, ...]:
    """What can become INT8, in running order; names are unique."""
    weights = weights_of(model.graph)
    found = [node for node in model.graph.node if _is_layer(node, weights)]
    names = [_name(node) for node in found]
    often = Counter(names)
    shapes = known_shapes(model)
    return tuple(
        Layer(
            name if often[name] == 1 else f"{name}@{node_key(node)}",
            node.op_type,
            node_key(node),
            node.input[0],
            tuple(weights[node.input[1]].dims),
            _macs(node, tuple(weights[node.input[1]].dims), shapes),
        )
        for name, node in zip(names, found, strict=True)
    )


def tensors_to_calibrate(model: onnx.ModelProto) -> list[str]:
    """The tensors whose ranges `quantize` wants: what the layers read, each once, in running order."""
    return list(dict.fromkeys(layer.input for layer in check_layers(model)))


def quantize(
    model: onnx.ModelProto,
    ranges: Mapping[str, float],
    keep: Collection[str] = (),
    half_scales: bool = False,
    origin: Mapping[str, Any] | None = None,
) -> onnx.ModelProto:
    """The network with its layers in INT8, but for those named in `keep`; inputs and outputs stay float32.

    `ranges` has the largest value by tensor, as `Calibrator.ranges` gives it. Readers of a tensor that has a Q/DQ pair
    read it dequantized, but for kept layers and the decode behind the last layers, which stays as it was. With
    `half_scales` all scales are float16 numbers, so that they lose nothing where they become float16 afterwards.
    Metadata is kept; "quantized" tells `origin` and the kept layers, as JSON.

    Raises BundleError for a network without layers, one that is quantized already or in float16, and for a range that
    is missing; UsageError where `keep` names no layer.
    """
    found = check_layers(model)
    if unknown := set(keep) - {layer.name for layer in found}:
        raise UsageError(f"keep: wanted names of layers, such as {found[0].name}, got {', '.join(sorted(unknown))}")
    chosen = [layer for layer in found if layer.name not in keep]
    check_ranges(model, chosen, ranges)
    nodes, constants = insert_qdq(model.graph, ranges, {layer.key for layer in chosen}, half_scales)
    graph = model.graph
    made = build_model(graph.name or "network", graph.input, graph.output, nodes, constants)
    made.metadata_props.extend(entry for entry in model.metadata_props if entry.key != METADATA)
    told = {**(origin or {}), "kept": [layer.name for layer in found if layer.name in keep]}
    made.metadata_props.add(key=METADATA, value=json.dumps(told, ensure_ascii=False))
    return made


def check_layers(model: onnx.ModelProto) -> tuple[Layer, ...]:
    """The layers of a network that can be quantized; raises BundleError for one that cannot."""
    name = model.graph.name or "network"
    version = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    if version != OPSET:
        raise BundleError(f"{name}: wanted opset {OPSET}, got {version}; export it with opset {OPSET}")
    if any(node.op_type in QDQ_OPERATORS for node in model.graph.node):
        raise BundleError(f"{name}: wanted a float network, got one with Q/DQ nodes: it is quantized already")
    found = quantizable_layers(model)
    if not found:
        raise BundleError(f"{name}: wanted convolutions to quantize, got none with constant weights")
    weights = weights_of(model.graph)
    for node in model.graph.node:
        if _is_layer(node, weights):
            weight = weights[node.input[1]]
            if weight.data_type != TensorProto.FLOAT:
                kind = TensorProto.DataType.Name(weight.data_type).lower()
                raise BundleError(f"{name}: '{weight.name}' wants float32, got {kind}; quantize before halving")
            if not np.isfinite(numpy_helper.to_array(weight)).all():
                raise BundleError(f"{name}: '{weight.name}' holds NaN or infinity; export it anew")
    return found


def check_ranges(model: onnx.ModelProto, chosen: Collection[Layer], ranges: Mapping[str, float]) -> None:
    """Raise BundleError unless each of these layers' inputs has a finite range, not negative."""
    for layer in chosen:
        amax = ranges.get(layer.input)
        if amax is None or not 0 <= amax < math.inf:
            got = "none" if amax is None else f"{amax}"
            raise BundleError(
                f"{model.graph.name or 'network'}: layer {layer.name} wants a range of '{layer.input}', got {got}; "
                "calibrate this very network"
            )


def known_shapes(model: onnx.ModelProto) -> dict[str, Dims]:
    """Sides of all tensors that inference can tell something of."""
    # Inference takes copies, and has no need of what weights hold.
    light = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    light.graph.node.extend(model.graph.node)
    light.graph.input.extend(model.graph.input)
    light.graph.output.extend(model.graph.output)
    for weight in model.graph.initializer:
        if math.prod(weight.dims) > LONGEST_SHAPE:
            light.graph.input.append(helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims))
        else:
            light.graph.initializer.append(weight)
    known = onnx.shape_inference.infer_shapes(light, data_prop=True).graph
    return {value.name: shape_of(value) for value in (*known.input, *known.value_info, *known.output)}


def _is_layer(node: onnx.NodeProto, weights: Collection[str]) -> bool:
    return node.op_type in CONVOLUTIONS and node.input[1] in weights and node.input[0] not in weights


def _name(node: onnx.NodeProto) -> str:
    name: str = node.input[1]
    return name.removesuffix(".weight") if name.endswith(".weight") else node.name or node_key(node)


def _macs(node: onnx.NodeProto, weight: tuple[int, ...], shapes: Mapping[str, Dims]) -> int | None:
    """Each weight is used once a pixel: of the output, or of what a transposed convolution reads."""
    shape = shapes.get(node.input[0] if node.op_type == "ConvTranspose" else node.output[0], ())
    pixels = [side for side in (*shape[:1], *shape[2:]) if side is not None]
    return math.prod(weight) * math.prod(pixels) if len(shape) > 2 and len(pixels) == len(shape) - 1 else None
