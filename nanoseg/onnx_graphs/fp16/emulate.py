"""A float16 network -> a float32 one that rounds every float16 tensor, for measuring on a CPU what a GPU computes.

ONNX Runtime has few float16 operators on a CPU. It puts Casts around the others and drops those that meet, so a run
of the file itself keeps float32 between operators: nothing is rounded there, and nothing overflows. Casts that a file
spells out it keeps.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from nanoseg.onnx_graphs.fp16.to_fp16 import tensor_types
from nanoseg.onnx_graphs.model.prune import rename_node_tensors

SINGLE, HALF = TensorProto.FLOAT, TensorProto.FLOAT16


def emulate_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network in float32, each of its float16 tensors rounded to float16 where it is made.

    Sums inside an operator are float32, as TensorRT's mostly are. Inputs and outputs keep their types. A network
    without float16 comes back as it is. Raises BundleError where a tensor's type cannot be told.
    """
    halves = {name: f"{name}/rounded" for name, dtype in tensor_types(model).items() if dtype == HALF}
    if not halves:
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    outputs = {value.name for value in graph.output}
    nodes = [_cast(value.name, halves[value.name], SINGLE) for value in graph.input if value.name in halves]
    for original in model.graph.node:
        node = onnx.NodeProto()
        node.CopyFrom(original)
        rename_node_tensors([node], halves)
        nodes.append(node)
        for place, name in enumerate(original.output):
            if name in halves:
                half = name if name in outputs else f"{name}/half"
                node.output[place] = f"{name}/exact"
                nodes += [_cast(f"{name}/exact", half, HALF), _cast(half, halves[name], SINGLE)]
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == HALF:
                attribute.i = SINGLE
    for weight in graph.initializer:
        if weight.name in halves:
            array = numpy_helper.to_array(weight).astype(np.float32)
            weight.CopyFrom(numpy_helper.from_array(array, halves[weight.name]))
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    return copy


def _cast(source: str, target: str, dtype: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [target], name=f"{target}/Cast", to=dtype)
