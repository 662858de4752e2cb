"""Convert INT8 deployment graphs to float16 for TensorRT for RTX, which runs those sooner."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto

from nanoseg.onnx_graphs.fp16.to_fp16 import to_fp16
from nanoseg.onnx_graphs.fp16.to_fp32 import to_fp32
from nanoseg.onnx_graphs.int8.strip_qdq import strip_qdq
from nanoseg.onnx_graphs.model.contract import with_native_input_type
from nanoseg.onnx_graphs.model.load import read_model
from nanoseg.onnx_graphs.model.nodes import box_decode_nodes
from nanoseg.onnx_graphs.model.shapes import dtype_of

# A Clip keeps convolutions from their activations, and Concat from being free. Only near float16's end, 65504, is one
# worth that.
CLIP_BEYOND = 16384.0


def float16_graph(path: Path) -> bytes:
    """Return an INT8 graph in float16 without Q/DQ, its box decode in float32, as the content of an ONNX file.

    Inputs and outputs keep their types. Values beyond the range of a pair are not clipped any more, as in the network
    that was quantized, unless they come near the end of float16's range.

    Raises:
        BundleError: the file is no ONNX model, or it cannot be converted.
    """
    return bytes(float16_model(read_model(path)).SerializeToString(deterministic=True))


def float16_model(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a network as `float16_graph` converts it; the argument is changed."""
    fp16_inputs = [value.name for value in model.graph.input if dtype_of(value) == TensorProto.FLOAT16]
    to_fp32(model)
    strip_qdq(model, CLIP_BEYOND)
    model = to_fp16(model, box_decode_nodes(model.graph.node))
    for value in model.graph.input:
        if value.name in fp16_inputs:
            nodes, _ = with_native_input_type(model.graph.node, value.name)
            value.type.tensor_type.elem_type = TensorProto.FLOAT16
            del model.graph.node[:]
            model.graph.node.extend(nodes)
    return model
