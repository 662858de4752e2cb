"""Every node of the deployment graphs against the types that TensorRT's parser takes: a refusal costs the engine."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from nanoseg.bundle import EMBEDDED_BUNDLE, EMBEDDED_FOLDER
from nanoseg.onnx_graphs.deploy.compose import precision_of
from nanoseg.onnx_graphs.deploy.prepare import prepare_graph
from nanoseg.onnx_graphs.fp16.to_fp16 import to_fp16
from nanoseg.processing.geometry import CENTRED, Padding

NAMES = {
    TensorProto.FLOAT: "FP32",
    TensorProto.FLOAT16: "FP16",
    TensorProto.INT32: "INT32",
    TensorProto.INT64: "INT64",
    TensorProto.BOOL: "BOOL",
    TensorProto.UINT8: "UINT8",
    TensorProto.INT8: "INT8",
}
HALVES = [(first, second) for first in (np.float32, np.float16) for second in (np.float32, np.float16)]


@pytest.fixture(scope="module")
def operators(data):
    return json.loads((data / "tensorrt-operators" / "10.1.json").read_text())["operators"]


def refusals(model: onnx.ModelProto, operators: dict[str, list[str]]) -> list[str]:
    """Return the nodes, each with what TensorRT does not take of it: the operator, or the type of its data.

    The table has the types of what the specification calls T: other inputs, as shapes and axes, have their own.
    """
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    values = (*inferred.value_info, *inferred.input, *inferred.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    types |= {tensor.name: tensor.data_type for tensor in inferred.initializer}
    opset = next(each.version for each in model.opset_import if not each.domain)
    found = []
    for node in inferred.node:
        if node.op_type not in operators:
            found.append(f"{node.op_type}: unknown")
            continue
        schema = onnx.defs.get_schema(node.op_type, opset)
        inputs = [(schema.inputs[min(index, len(schema.inputs) - 1)], name) for index, name in enumerate(node.input)]
        data = [types[name] for formal, name in inputs if name and formal.type_str == schema.inputs[0].type_str]
        wrong = {NAMES[each] for each in data} - set(operators[node.op_type])
        found += [f"{node.op_type}: {name}" for name in sorted(wrong)]
    return found


@pytest.mark.parametrize("graph", sorted(path.stem for path in (EMBEDDED_FOLDER / EMBEDDED_BUNDLE).glob("*.onnx")))
def test_graphs_of_the_bundle_have_types_that_tensorrt_takes(graph, operators):
    """The embedded bundle's networks are int8, float16 and float32."""
    assert refusals(onnx.load(EMBEDDED_FOLDER / EMBEDDED_BUNDLE / f"{graph}.onnx"), operators) == []


@pytest.mark.parametrize("graph", ["segment", "segment_boxes"])
def test_float16_decoders_have_types_that_tensorrt_takes(graph, operators):
    half = to_fp16(onnx.load(EMBEDDED_FOLDER / EMBEDDED_BUNDLE / f"{graph}.onnx"))
    assert precision_of(half) == "fp16"
    assert refusals(half, operators) == []


@pytest.mark.parametrize(("images", "image"), HALVES)
@pytest.mark.parametrize("padding", [CENTRED, Padding(centred=False, value=127)], ids=str)
def test_prepare_has_types_that_tensorrt_takes(images, image, padding, operators):
    """Of a uint8 tensor TensorRT takes a Cast alone."""
    assert refusals(prepare_graph(640, 636, 1024, images, image, padding), operators) == []


def test_refusals_names_types_and_operators(operators):
    """As of the Shape of uint8 levels, which the table does not have."""
    frame = onnx.helper.make_tensor_value_info("frame", TensorProto.UINT8, (1, 4, 4, 3))
    outputs = [onnx.helper.make_tensor_value_info(name, TensorProto.INT64, None) for name in ("shape", "counts")]
    nodes = [
        onnx.helper.make_node("Shape", ["frame"], ["shape"]),
        onnx.helper.make_node("Unique", ["shape"], ["counts"]),
    ]
    graph = onnx.helper.make_graph(nodes, "g", [frame], outputs)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)])
    assert refusals(model, operators) == ["Shape: UINT8", "Unique: unknown"]
