"""Convert float32 networks to float16, except for the nodes of `keep_fp32`.

The file itself has the precision of every tensor, as a strongly typed TensorRT network requires. Inputs and outputs
stay float32.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from nanoseg.errors import BundleError, first_line
from nanoseg.onnx_graphs.fp16.keep_fp32 import fp16_inputs, fp16_outputs, keep_fp32
from nanoseg.onnx_graphs.model.nodes import QDQ_OPERATORS, node_inputs, node_key
from nanoseg.onnx_graphs.model.prune import rename_node_tensors
from nanoseg.onnx_graphs.model.shapes import dtype_of

FP32, FP16 = TensorProto.FLOAT, TensorProto.FLOAT16
SUFFIX: dict[int, str] = {FP32: "/float32", FP16: "/float16"}
SMALLEST = np.float16(2.0**-24)  # above 0


def to_fp16(model: onnx.ModelProto, keep: Collection[str] = ()) -> onnx.ModelProto:
    """Return a network with float16 tensors.

    A Cast stands where float32 and float16 meet, one for each tensor and direction: directly behind an input, directly
    before an output. INT8 weights are not changed; scales of Q/DQ pairs become float16.

    Args:
        model: a float32 network, which is not changed.
        keep: keys of nodes that stay float32, besides those that float16 cannot hold; of a detector its
            `box_decode_nodes`.

    Raises:
        BundleError: the network has float16 tensors already, external weights, tensors of unknown type, or no node
            that could become float16.
    """
    model, name = _with_initializers(model), network_name(model)
    types = tensor_types(model)
    if any(dtype == FP16 for dtype in types.values()):
        raise BundleError(f"{name}: wanted a float32 network, got one with float16 tensors: it is converted already")
    floats = {name for name, dtype in types.items() if dtype == FP32}
    kept = keep_fp32(model, floats, keep)
    if not any(node_key(node) not in kept and fp16_inputs(node, floats, model) for node in model.graph.node):
        raise BundleError(f"{name}: wanted operators in float32 that float16 could hold, got none; nothing to convert")
    converted = _Fp16Network(model, floats)
    for node in model.graph.node:
        converted.add(node, node_key(node) not in kept)
    return _checked(converted.build())


def network_name(model: onnx.ModelProto) -> str:
    """Return the name of a network in messages."""
    return model.graph.name or "network"


def tensor_types(model: onnx.ModelProto) -> dict[str, int]:
    """Return the data type of every tensor outside subgraphs; raises BundleError where one is unknown."""
    try:
        graph = onnx.shape_inference.infer_shapes(model).graph
    except Exception as error:  # onnx raises protobuf's errors, which have no public base
        raise BundleError(
            f"{network_name(model)}: the network in it does not fit together: {first_line(error)}"
        ) from error
    types = {value.name: dtype_of(value) for value in (*graph.input, *graph.value_info, *graph.output)}
    types |= {weight.name: weight.data_type for weight in graph.initializer}
    for node in graph.node:
        for name in filter(None, node.output):
            if not types.get(name):
                raise BundleError(
                    f"{network_name(model)}: '{name}' wants a known type, got {node.op_type}, which has none"
                )
    return types


class _Fp16Network:
    """The network under conversion: its nodes, and the types in which its tensors exist."""

    def __init__(self, model: onnx.ModelProto, floats: set[str]) -> None:
        self._model, self._floats = model, floats
        self._weights = {weight.name: weight for weight in model.graph.initializer}
        self._outputs = {value.name for value in model.graph.output}
        self._types: dict[str, int] = dict.fromkeys((value.name for value in model.graph.input), FP32)
        self._read: dict[tuple[str, int], bool] = {}  # weights and the types in which they are read; whether as a scale
        self._casts: dict[tuple[str, int], str] = {}
        self._nodes: list[onnx.NodeProto] = []

    def add(self, node: onnx.NodeProto, fp16: bool) -> None:
        """Append a node, in float16 if `fp16`, behind the Casts that it needs."""
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        fp16_indices = fp16_inputs(node, self._floats, self._model) if fp16 else set()
        if not fp16_indices:  # subgraphs included
            wanted = sorted(self._floats.intersection(node_inputs(node)))
            rename_node_tensors([copy], {name: self._in_type(name, FP32) for name in wanted})
        for index in (index for index, name in enumerate(node.input) if fp16_indices and name in self._floats):
            scale = node.op_type in QDQ_OPERATORS and index == 1
            copy.input[index] = self._in_type(node.input[index], FP16 if index in fp16_indices else FP32, scale)
        produced = fp16_outputs(node, self._floats, self._model) if fp16_indices else set()
        for index, name in enumerate(node.output):
            self._types[name] = FP16 if index in produced else FP32
            if index in produced and name in self._outputs:
                copy.output[index] = name + SUFFIX[FP16]
        self._nodes.append(copy)

    def build(self) -> onnx.ModelProto:
        """Return the model with the nodes that were added."""
        graph = self._model.graph
        for name in [value.name for value in graph.output if value.name in self._floats]:
            self._in_type(name, FP32)
        # A weight that exists in float16 alone keeps its name.
        fp16_only = {name for name in self._weights if (name, FP16) in self._read} - self._in_fp32()
        rename_node_tensors(self._nodes, {name + SUFFIX[FP16]: name for name in fp16_only})
        del graph.node[:], graph.value_info[:]
        graph.node.extend(self._nodes)
        weights = [weight for weight in graph.initializer if weight.name not in self._floats]
        weights += self._float_weights()
        del graph.initializer[:]
        graph.initializer.extend(weights)
        return self._model

    def _in_type(self, name: str, dtype: int, scale: bool = False) -> str:
        """Return the tensor's name in a type; a Cast is appended where it does not exist yet."""
        if name in self._weights:
            self._read[name, dtype] = self._read.get((name, dtype), False) or scale
            return name + (SUFFIX[FP16] if dtype == FP16 else "")
        produced = self._types[name]
        if produced == dtype:
            return name + SUFFIX[FP16] if produced == FP16 and name in self._outputs else name
        if (name, dtype) not in self._casts:
            source = name + SUFFIX[FP16] if produced == FP16 and name in self._outputs else name
            target = name if name in self._outputs and dtype == FP32 else name + SUFFIX[dtype]
            self._nodes.append(helper.make_node("Cast", [source], [target], name=f"{target}/Cast", to=dtype))
            self._casts[name, dtype] = target
        return self._casts[name, dtype]

    def _in_fp32(self) -> set[str]:
        """Return the weights that are read in float32."""
        return {name for name in self._weights if (name, FP32) in self._read or name in self._outputs}

    def _float_weights(self) -> Iterator[TensorProto]:
        in_fp32 = self._in_fp32()
        for name, weight in self._weights.items():
            if name in in_fp32:
                yield weight
            if (name, FP16) in self._read:
                yield _to_fp16_tensor(weight, name + SUFFIX[FP16] * (name in in_fp32), self._read[name, FP16])


def _to_fp16_tensor(weight: TensorProto, name: str, scale: bool) -> TensorProto:
    """Return a weight in float16 under a name; a scale stays positive, as TensorRT requires."""
    array = numpy_helper.to_array(weight)
    half = array.astype(np.float16)
    if scale:
        half = np.where(array > 0, np.maximum(half, SMALLEST), half)
    return numpy_helper.from_array(half, name)


def _with_initializers(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy with Constant nodes as initializers; raises BundleError for external weights."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    for weight in graph.initializer:
        if weight.data_location == TensorProto.EXTERNAL:
            raise BundleError(
                f"{network_name(model)}: '{weight.name}' wants its numbers in the model, got them in another file; "
                "load both"
            )
    for node in [node for node in graph.node if node.op_type == "Constant"]:
        for tensor in [attribute.t for attribute in node.attribute if attribute.name == "value"]:
            tensor.name = node.output[0]
            graph.initializer.append(tensor)
            graph.node.remove(node)
    return copy


def _checked(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # as above
        raise BundleError(f"{network_name(model)}: does not fit together in float16: {first_line(error)}") from error
    return model
