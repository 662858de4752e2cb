"""A float32 network -> the same one in float16, but for what float16 cannot hold: `keep_fp32` says what that is.

The file itself says what runs in what, as a strongly typed TensorRT wants it. Inputs and outputs stay float32.
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

SINGLE, HALF = TensorProto.FLOAT, TensorProto.FLOAT16
SUFFIX: dict[int, str] = {SINGLE: "/float32", HALF: "/float16"}
SMALLEST = np.float16(2.0**-24)  # above 0


def to_fp16(model: onnx.ModelProto, keep: Collection[str] = ()) -> onnx.ModelProto:
    """The same network with float16 tensors; nodes whose key is in `keep` stay float32, and so do unsafe ones.

    A detector's `keep` holds its decode, `flow.box_decode_nodes`. A Cast stands where float32 and float16 meet,
    one a tensor and direction: right behind an input, right before an output. INT8 weights are not touched; scales
    of Q/DQ pairs become float16. Raises BundleError for a network that holds float16 already, without its weights,
    or with tensors of unknown type.
    """
    model, name = _spelled_out(model), network_name(model)
    types = tensor_types(model)
    if any(dtype == HALF for dtype in types.values()):
        raise BundleError(f"{name}: wanted a float32 network, got one with float16 tensors: it is halved already")
    floats = {name for name, dtype in types.items() if dtype == SINGLE}
    stay = keep_fp32(model, floats, keep)
    if not any(node_key(node) not in stay and fp16_inputs(node, floats, model) for node in model.graph.node):
        raise BundleError(f"{name}: wanted operators in float32 that float16 could hold, got none; nothing to to_fp16")
    halved = _Halved(model, floats)
    for node in model.graph.node:
        halved.add(node, node_key(node) not in stay)
    return _checked(halved.finished())


def network_name(model: onnx.ModelProto) -> str:
    """What messages call a network."""
    return model.graph.name or "network"


def tensor_types(model: onnx.ModelProto) -> dict[str, int]:
    """The data type of every tensor outside inner graphs; raises BundleError where one cannot be told."""
    try:
        graph = onnx.shape_inference.infer_shapes(model).graph
    except Exception as error:  # onnx raises protobuf's errors, which are nobody's public API
        raise BundleError(
            f"{network_name(model)}: the network in it does not fit together: {first_line(error)}"
        ) from error
    types = {value.name: dtype_of(value) for value in (*graph.input, *graph.value_info, *graph.output)}
    types |= {weight.name: weight.data_type for weight in graph.initializer}
    for node in graph.node:
        for name in filter(None, node.output):
            if not types.get(name):
                told = f"'{name}' wants a known type, got {node.op_type}, which tells none"
                raise BundleError(f"{network_name(model)}: {told}")
    return types


class _Halved:
    """The network as it grows: which tensors there are in which type, and what was cast."""

    def __init__(self, model: onnx.ModelProto, floats: set[str]) -> None:
        self._model, self._floats = model, floats
        self._weights = {weight.name: weight for weight in model.graph.initializer}
        self._outputs = {value.name for value in model.graph.output}
        self._made: dict[str, int] = dict.fromkeys((value.name for value in model.graph.input), SINGLE)
        self._read: dict[tuple[str, int], bool] = {}  # weights in the types that somebody reads; whether as a scale
        self._casts: dict[tuple[str, int], str] = {}
        self._nodes: list[onnx.NodeProto] = []

    def add(self, node: onnx.NodeProto, half: bool) -> None:
        """Append the node, in float16 where `half`, behind the Casts that it needs."""
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        halving = fp16_inputs(node, self._floats, self._model) if half else set()
        if not halving:  # inner graphs included
            wanted = sorted(self._floats.intersection(node_inputs(node)))
            rename_node_tensors([copy], {name: self._in_type(name, SINGLE) for name in wanted})
        for place in (place for place, name in enumerate(node.input) if halving and name in self._floats):
            scale = node.op_type in QDQ_OPERATORS and place == 1
            copy.input[place] = self._in_type(node.input[place], HALF if place in halving else SINGLE, scale)
        made = fp16_outputs(node, self._floats, self._model) if halving else set()
        for place, name in enumerate(node.output):
            self._made[name] = HALF if place in made else SINGLE
            if place in made and name in self._outputs:
                copy.output[place] = name + SUFFIX[HALF]
        self._nodes.append(copy)

    def finished(self) -> onnx.ModelProto:
        """The model of all that was added."""
        graph = self._model.graph
        for name in [value.name for value in graph.output if value.name in self._floats]:
            self._in_type(name, SINGLE)
        # Exporters' names stay where there is no need for two.
        only_half = {name for name in self._weights if (name, HALF) in self._read} - self._in_single()
        rename_node_tensors(self._nodes, {name + SUFFIX[HALF]: name for name in only_half})
        del graph.node[:], graph.value_info[:]
        graph.node.extend(self._nodes)
        weights = [weight for weight in graph.initializer if weight.name not in self._floats]
        weights += self._float_weights()
        del graph.initializer[:]
        graph.initializer.extend(weights)
        return self._model

    def _in_type(self, name: str, dtype: int, scale: bool = False) -> str:
        """What the tensor is called in this type; a Cast is added where nobody needed it before."""
        if name in self._weights:
            self._read[name, dtype] = self._read.get((name, dtype), False) or scale
            return name + (SUFFIX[HALF] if dtype == HALF else "")
        made = self._made[name]
        if made == dtype:
            return name + SUFFIX[HALF] if made == HALF and name in self._outputs else name
        if (name, dtype) not in self._casts:
            source = name + SUFFIX[HALF] if made == HALF and name in self._outputs else name
            target = name if name in self._outputs and dtype == SINGLE else name + SUFFIX[dtype]
            self._nodes.append(helper.make_node("Cast", [source], [target], name=f"{target}/Cast", to=dtype))
            self._casts[name, dtype] = target
        return self._casts[name, dtype]

    def _in_single(self) -> set[str]:
        """Weights that are wanted in float32."""
        return {name for name in self._weights if (name, SINGLE) in self._read or name in self._outputs}

    def _float_weights(self) -> Iterator[TensorProto]:
        single = self._in_single()
        for name, weight in self._weights.items():
            if name in single:
                yield weight
            if (name, HALF) in self._read:
                yield _as_half(weight, name + SUFFIX[HALF] * (name in single), self._read[name, HALF])


def _as_half(weight: TensorProto, name: str, scale: bool) -> TensorProto:
    """A weight in float16, under this name; a scale stays positive, as TensorRT wants it."""
    array = numpy_helper.to_array(weight)
    half = array.astype(np.float16)
    if scale:
        half = np.where(array > 0, np.maximum(half, SMALLEST), half)
    return numpy_helper.from_array(half, name)


def _spelled_out(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with constants among the weights alone; raises BundleError where weights are not in it."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    for weight in graph.initializer:
        if weight.data_location == TensorProto.EXTERNAL:
            told = f"'{weight.name}' wants its numbers in the model, got them in another file; load both"
            raise BundleError(f"{network_name(model)}: {told}")
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
