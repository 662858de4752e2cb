"""Q/DQ placement: each convolution reads a pair, and the box decode none."""

import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from nanoseg.onnx_graphs.int8.quantize import Layer, quantizable_layers, quantize, tensors_to_calibrate
from nanoseg.onnx_graphs.model.nodes import box_decode_nodes, node_key
from tests.helpers.onnx_run import run_unfused
from tests.helpers.quantized_graphs import GraphIndex, float_weight
from tests.helpers.tiny_residual import ANCHORS, PX, pictures, residual_detector


def test_qdq_layers_are_in_topological_order(model):
    assert quantizable_layers(model) == (
        Layer("stem", "c0", "images", (8, 3, 3, 3), 16 * 16 * 8 * 3 * 9),
        Layer("one", "c1", "r0", (8, 8, 3, 3), 16 * 16 * 8 * 8 * 9),
        Layer("two", "c2", "sum", (8, 8, 1, 1), 16 * 16 * 8 * 8),
        Layer("head", "c4", "pool", (7, 6, 1, 1), 16 * 16 * 7 * 6),
    )


def test_qdq_layers_are_named_by_weight_or_node(model):
    copy = onnx.ModelProto.FromString(model.SerializeToString().replace(b"one.weight", b"one.weighs"))
    copy.graph.node[5].name = ""
    copy = onnx.ModelProto.FromString(copy.SerializeToString().replace(b"two.weight", b"two.weighs"))
    assert [layer.name for layer in quantizable_layers(copy)] == ["stem", "n1", "c2", "head"]


def test_qdq_none_around_transposed_convolution(model, ranges):
    """TensorRT fuses none into it: its input, weight and output are those of the float network."""
    made = GraphIndex(quantize(model, ranges))
    up = made.by_key("c3")
    assert list(up.input) == ["cat", "up.weight", "up.bias"]
    np.testing.assert_array_equal(made.weights["up.weight"], float_weight(model, "up.weight"))
    assert "cat" not in tensors_to_calibrate(model)
    assert list(made.by_key("pool").input) == ["c3"]
    # Not even where a convolution reads the same tensor, which then is there in both types.
    shared = residual_detector(up_weight=np.ones((8, 6, 2, 2), np.float32))
    shared.graph.node[8].input[0] = "r0"
    made = GraphIndex(quantize(shared, ranges))
    assert made.by_key("c3").input[0] == "r0"
    assert made.quantized(made.by_key("c1").input[0]) == "r0"


def test_qdq_readers_share_one_pair(model, ranges):
    made = GraphIndex(quantize(model, ranges))
    for layer in quantizable_layers(model):
        assert made.quantized(made.by_key(layer.key).input[0]) == layer.input
    # The residual Add and the Concat read the very tensor that the convolutions read, or what had none before.
    assert made.by_key("sum").input[1] == made.by_key("c1").input[0]
    assert made.by_key("cat").input[1] == made.by_key("c1").input[0]
    assert made.by_key("sum").input[0] == "r1"
    assert made.by_key("cat").input[0] == "r2"
    pairs = [node for node in made.nodes if node.op_type == "QuantizeLinear"]
    assert sorted(node.input[0] for node in pairs) == sorted(tensors_to_calibrate(model))


def test_qdq_none_between_conv_and_activation(model, ranges):
    made = GraphIndex(quantize(model, ranges))
    for node, follower in (("c0", "r0"), ("c1", "r1"), ("c2", "r2"), ("c3", "pool"), ("c4", "rows")):
        assert list(made.by_key(follower).input)[:1] == [node]


def test_qdq_relu_reads_its_convolution(ranges):
    model = residual_detector()
    model.graph.node[5].input[0] = "c1"  # two reads what one gives, before its Relu
    model.graph.node[7].input[1] = "sum"  # so that a layer lies behind that Relu, and it is no decode
    made = GraphIndex(quantize(model, ranges | {"c1": 2.0}))
    assert made.quantized(made.by_key("c2").input[0]) == "c1"
    assert made.by_key("r1").input[0] == "c1"


def test_qdq_none_in_box_decode(model, ranges):
    made = quantize(model, ranges)
    decode = box_decode_nodes(model.graph.node)
    before, after = (
        [node.SerializeToString() for node in each.graph.node if node_key(node) in decode] for each in (model, made)
    )
    assert len(before) == 6
    assert before == after
    assert [value.type.tensor_type.elem_type for value in made.graph.output] == [TensorProto.FLOAT] * 2
    assert box_decode_nodes(made.graph.node) == decode


def test_qdq_box_decode_reads_float_tensors(ranges):
    model = residual_detector()
    model.graph.output.append(helper.make_tensor_value_info("bright", TensorProto.FLOAT, (1, 6, 16, 16)))
    model.graph.node.append(helper.make_node("Neg", ["pool"], ["bright"]))
    made = GraphIndex(quantize(model, ranges))
    assert made.by_key("bright").input[0] == "pool"


def test_qdq_types_of_weights_and_biases(model, ranges):
    made = GraphIndex(quantize(model, ranges))
    for layer in quantizable_layers(model):
        node = made.by_key(layer.key)
        dq = made.by_key(node.input[1])
        assert helper.get_node_attr_value(dq, "axis") == 0
        assert made.types[dq.input[0]] == TensorProto.INT8
        assert made.weights[dq.input[1]].shape == layer.weight_shape[:1]
        np.testing.assert_array_equal(made.weights[node.input[2]], float_weight(model, node.input[2]))
    assert set(made.types.values()) == {TensorProto.FLOAT, TensorProto.INT8, TensorProto.INT64}
    assert [name for name, kind in _plain(made) if name.endswith("weight") and kind == TensorProto.FLOAT] == [
        "up.weight"
    ]
    zeros = {node.input[2] for node in made.nodes if node.op_type == "QuantizeLinear"}
    assert [made.weights[zero].item() for zero in zeros] == [0]


def _plain(made: GraphIndex) -> list[tuple[str, int]]:
    return [(name, kind) for name, kind in made.types.items() if not name.startswith("nanoseg/")]


def test_qdq_placement_equals_onnx_runtimes(model, ranges, tmp_path: Path):
    want = GraphIndex(_by_onnx_runtime(model, ranges, tmp_path))
    got = GraphIndex(quantize(model, ranges))
    for node in model.graph.node:
        ours, theirs = (each.by_key(node_key(node)) for each in (got, want))
        for mine, other in zip(ours.input, theirs.input, strict=True):
            assert got.quantized(mine) == want.quantized(other), node
    for layer in quantizable_layers(model):
        np.testing.assert_allclose(got.weight(layer.key), want.weight(layer.key), rtol=1e-5, atol=1e-7)
    picture = pictures(2)[1]
    answers = [run_unfused(quantize(model, ranges), images=picture), run_unfused(_saved(tmp_path), images=picture)]
    for name in ("boxes", "scores"):
        # A number on the edge of two levels may fall to either.
        np.testing.assert_allclose(answers[0][name], answers[1][name], atol=0.02)


def _saved(folder: Path) -> onnx.ModelProto:
    return onnx.load(folder / "int8.onnx")


def _by_onnx_runtime(model: onnx.ModelProto, ranges: dict[str, float], folder: Path) -> onnx.ModelProto:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            from onnxruntime.quantization import QuantType
            from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData
            from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

            edges = {name: (np.float32(-amax), np.float32(amax)) for name, amax in ranges.items()}
            decode = box_decode_nodes(model.graph.node)
            copy = onnx.ModelProto()
            copy.CopyFrom(model)
            for i, node in enumerate(copy.graph.node):
                node.name = node.name or f"node{i}"
            quantizer = QDQQuantizer(
                copy,
                True,
                False,
                QuantType.QInt8,
                QuantType.QInt8,
                TensorsData(CalibrationMethod.MinMax, edges),
                [],
                [node.name for node in copy.graph.node if node_key(node) in decode],
                ["Conv"],
                {
                    "ActivationSymmetric": True,
                    "WeightSymmetric": True,
                    "QuantizeBias": False,
                    "OpTypesToExcludeOutputQuantization": ["Conv"],
                },
            )
            quantizer.quantize_model()
            quantizer.model.save_model_to_file(str(folder / "int8.onnx"), False)
        finally:
            logging.disable(logging.NOTSET)
    return _saved(folder)


@pytest.mark.parametrize("keep", [[], ["stem", "two"]])
def test_qdq_builds_with_tensorrt(model, ranges, keep):
    trt = pytest.importorskip("tensorrt_rtx")
    messages = []

    class Log(trt.ILogger):
        def __init__(self):
            trt.ILogger.__init__(self)

        def log(self, severity, message):
            if severity <= trt.ILogger.ERROR:
                messages.append(message)

    log = Log()
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    parsed = parser.parse(quantize(model, ranges, keep).SerializeToString())
    assert parsed, messages
    plan = builder.build_serialized_network(network, builder.create_builder_config())
    assert plan is not None, messages
    assert plan.nbytes > 1000
    assert [network.get_output(i).dtype for i in range(2)] == [trt.float32] * 2


def test_qdq_tiny_network(model):
    got = run_unfused(model, images=np.zeros((1, 3, PX, PX), np.float32))
    assert {name: value.shape for name, value in got.items()} == {"boxes": (1, ANCHORS, 4), "scores": (1, ANCHORS, 3)}
