"""Emulate float16 on a CPU: a float32 network that rounds every float16 tensor, as a GPU does.

ONNX Runtime has few float16 operators on a CPU. It puts Casts around the others and removes pairs of them, so a run of
the file itself keeps float32 between operators: nothing is rounded there, and nothing overflows. It keeps Casts that
are in the file.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from nanoseg.onnx_graphs.fp16.to_fp16 import tensor_types
from nanoseg.onnx_graphs.model.prune import rename_node_tensors

FP32, FP16 = TensorProto.FLOAT, TensorProto.FLOAT16


def emulate_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the network in float32, with each of its float16 tensors rounded to float16 where it is produced.

    Sums inside an operator are float32, as most of TensorRT's are. Inputs and outputs keep their types. A network
    without float16 is returned as it is.

    Raises:
        BundleError: a tensor's type is unknown.
    """
    fp16_tensors = {name: f"{name}/rounded" for name, dtype in tensor_types(model).items() if dtype == FP16}
    if not fp16_tensors:
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    outputs = {value.name for value in graph.output}
    nodes = [_cast(value.name, fp16_tensors[value.name], FP32) for value in graph.input if value.name in fp16_tensors]
    for original in model.graph.node:
        node = onnx.NodeProto()
        node.CopyFrom(original)
        rename_node_tensors([node], fp16_tensors)
        nodes.append(node)
        for index, name in enumerate(original.output):
            if name in fp16_tensors:
                half = name if name in outputs else f"{name}/half"
                node.output[index] = f"{name}/exact"
                nodes += [_cast(f"{name}/exact", half, FP16), _cast(half, fp16_tensors[name], FP32)]
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == FP16:
                attribute.i = FP32
    for weight in graph.initializer:
        if weight.name in fp16_tensors:
            array = numpy_helper.to_array(weight).astype(np.float32)
            weight.CopyFrom(numpy_helper.from_array(array, fp16_tensors[weight.name]))
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    return copy


def _cast(source: str, target: str, dtype: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [target], name=f"{target}/Cast", to=dtype)
