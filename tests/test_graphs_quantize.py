"""Where Q/DQ pairs go and what numbers they hold; what stays float32 keeps every bit."""

import json
import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from nanoseg.errors import BundleError, UsageError
from nanoseg.graphs.calibrate import Calibrator
from nanoseg.graphs.flow import after_convolutions, key_of
from nanoseg.graphs.placement import quantized_weight, scales_of
from nanoseg.graphs.quantize import Layer, layers, quantize, to_calibrate
from tests.tiny_detectors import quantized_detector
from tests.tiny_networks import run
from tests.tiny_residual import ANCHORS, PX, pictures, residual_detector

NAMES = ["stem", "one", "two", "up", "head"]


def ranges_of(model: onnx.ModelProto) -> dict[str, float]:
    calibrator = Calibrator(model, "minmax")
    for picture in pictures(4):
        calibrator.add(picture)
    return calibrator.ranges()


def as_stored(model: onnx.ModelProto, **feeds: np.ndarray) -> dict[str, np.ndarray]:
    """Outputs with Q/DQ as they stand, nothing fused."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


class Wired:
    """Who makes and who reads what in a network."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes = list(model.graph.node)
        self.maker = {name: node for node in self.nodes for name in node.output}
        self.weights = {weight.name: numpy_helper.to_array(weight) for weight in model.graph.initializer}
        self.types = {weight.name: weight.data_type for weight in model.graph.initializer}

    def by_key(self, key: str) -> onnx.NodeProto:
        return self.maker[key]

    def quantized(self, name: str) -> str | None:
        """The tensor that a Q/DQ pair makes this one of; None where there is no pair."""
        dq = self.maker.get(name)
        if dq is None or dq.op_type != "DequantizeLinear" or dq.input[0] not in self.maker:
            return None
        q = self.maker[dq.input[0]]
        assert q.op_type == "QuantizeLinear"
        assert list(q.input[1:]) == list(dq.input[1:])
        return q.input[0]

    def weight(self, key: str) -> np.ndarray:
        """What a layer multiplies with, float32, dequantized by numpy."""
        name = self.maker[key].input[1]
        if name in self.weights:
            return self.weights[name]
        dq = self.maker[name]
        axis = next(attribute.i for attribute in dq.attribute if attribute.name == "axis")
        steps, scales = self.weights[dq.input[0]], self.weights[dq.input[1]]
        shape = [-1 if at == axis else 1 for at in range(steps.ndim)]
        assert steps.dtype == np.int8
        return steps.astype(np.float32) * scales.astype(np.float32).reshape(shape)


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return residual_detector()


@pytest.fixture(scope="module")
def ranges(model: onnx.ModelProto) -> dict[str, float]:
    return ranges_of(model)


# Layers.


def test_layers_are_the_convolutions_in_running_order(model):
    assert layers(model) == (
        Layer("stem", "Conv", "c0", "images", (8, 3, 3, 3), 16 * 16 * 8 * 3 * 9),
        Layer("one", "Conv", "c1", "r0", (8, 8, 3, 3), 16 * 16 * 8 * 8 * 9),
        Layer("two", "Conv", "c2", "sum", (8, 8, 1, 1), 16 * 16 * 8 * 8),
        Layer("up", "ConvTranspose", "c3", "cat", (16, 6, 2, 2), 16 * 16 * 16 * 6 * 4),
        Layer("head", "Conv", "c4", "pool", (7, 6, 1, 1), 16 * 16 * 7 * 6),
    )


def test_layers_without_a_weight_of_that_name_are_called_as_their_node(model):
    copy = onnx.ModelProto.FromString(model.SerializeToString().replace(b"one.weight", b"one.weighs"))
    copy.graph.node[5].name = ""
    copy = onnx.ModelProto.FromString(copy.SerializeToString().replace(b"two.weight", b"two.weighs"))
    assert [layer.name for layer in layers(copy)] == ["stem", "n1", "c2", "up", "head"]


# Placement.


def test_each_layer_reads_pairs_and_all_readers_share_them(model, ranges):
    made = Wired(quantize(model, ranges))
    for layer in layers(model):
        assert made.quantized(made.by_key(layer.key).input[0]) == layer.input
    # The residual Add and the Concat read the very tensor that the convolutions read, or what had none before.
    assert made.by_key("sum").input[1] == made.by_key("c1").input[0]
    assert made.by_key("cat").input[1] == made.by_key("c1").input[0]
    assert made.by_key("sum").input[0] == "r1"
    assert made.by_key("cat").input[0] == "r2"
    pairs = [node for node in made.nodes if node.op_type == "QuantizeLinear"]
    assert sorted(node.input[0] for node in pairs) == sorted(to_calibrate(model))


def test_nothing_stands_between_a_convolution_and_what_follows_it(model, ranges):
    made = Wired(quantize(model, ranges))
    for node, follower in (("c0", "r0"), ("c1", "r1"), ("c2", "r2"), ("c3", "pool"), ("c4", "rows")):
        assert list(made.by_key(follower).input)[:1] == [node]


def test_a_relu_reads_its_convolution_even_where_another_layer_reads_that_too(ranges):
    model = residual_detector()
    model.graph.node[5].input[0] = "c1"  # two reads what one gives, before its Relu
    model.graph.node[7].input[1] = "sum"  # so that a layer lies behind that Relu, and it is no decode
    made = Wired(quantize(model, ranges | {"c1": 2.0}))
    assert made.quantized(made.by_key("c2").input[0]) == "c1"
    assert made.by_key("r1").input[0] == "c1"


def test_the_decode_is_untouched_and_gives_float32(model, ranges):
    made = quantize(model, ranges)
    decode = after_convolutions(model.graph.node)
    before, after = (
        [node.SerializeToString() for node in each.graph.node if key_of(node) in decode] for each in (model, made)
    )
    assert len(before) == 6
    assert before == after
    assert [value.type.tensor_type.elem_type for value in made.graph.output] == [TensorProto.FLOAT] * 2
    assert after_convolutions(made.graph.node) == decode


def test_a_decode_that_reads_what_a_layer_reads_reads_it_plain(ranges):
    model = residual_detector()
    model.graph.output.append(helper.make_tensor_value_info("bright", TensorProto.FLOAT, (1, 6, 16, 16)))
    model.graph.node.append(helper.make_node("Neg", ["pool"], ["bright"]))
    made = Wired(quantize(model, ranges))
    assert made.by_key("bright").input[0] == "pool"


def test_biases_and_weights_have_the_types_that_tensorrt_wants(model, ranges):
    made = Wired(quantize(model, ranges))
    for layer in layers(model):
        node = made.by_key(layer.key)
        dq = made.by_key(node.input[1])
        axis = 1 if layer.op == "ConvTranspose" else 0
        assert helper.get_node_attr_value(dq, "axis") == axis
        assert made.types[dq.input[0]] == TensorProto.INT8
        assert made.weights[dq.input[1]].shape == (layer.weight_shape[axis],)
        np.testing.assert_array_equal(made.weights[node.input[2]], _float(model, node.input[2]))
    assert set(made.types.values()) == {TensorProto.FLOAT, TensorProto.INT8, TensorProto.INT64}
    assert not any(name.endswith("weight") and kind == TensorProto.FLOAT for name, kind in _plain(made))
    zeros = {node.input[2] for node in made.nodes if node.op_type == "QuantizeLinear"}
    assert [made.weights[zero].item() for zero in zeros] == [0]


def _float(model: onnx.ModelProto, name: str) -> np.ndarray:
    return next(numpy_helper.to_array(weight) for weight in model.graph.initializer if weight.name == name)


def _plain(made: Wired) -> list[tuple[str, int]]:
    return [(name, kind) for name, kind in made.types.items() if not name.startswith("nanoseg/")]


def test_onnx_runtimes_quantizer_puts_them_at_the_same_places(model, ranges, tmp_path: Path):
    want = Wired(_by_onnx_runtime(model, ranges, tmp_path))
    got = Wired(quantize(model, ranges))
    for node in model.graph.node:
        ours, theirs = (each.by_key(key_of(node)) for each in (got, want))
        for mine, other in zip(ours.input, theirs.input, strict=True):
            assert got.quantized(mine) == want.quantized(other), node
    for layer in layers(model):
        np.testing.assert_allclose(got.weight(layer.key), want.weight(layer.key), rtol=1e-5, atol=1e-7)
    picture = pictures(2)[1]
    answers = [as_stored(quantize(model, ranges), images=picture), as_stored(_saved(tmp_path), images=picture)]
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
            decode = after_convolutions(model.graph.node)
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
                [node.name for node in copy.graph.node if key_of(node) in decode],
                ["Conv", "ConvTranspose"],
                {
                    "ActivationSymmetric": True,
                    "WeightSymmetric": True,
                    "QuantizeBias": False,
                    "OpTypesToExcludeOutputQuantization": ["Conv", "ConvTranspose"],
                },
            )
            quantizer.quantize_model()
            quantizer.model.save_model_to_file(str(folder / "int8.onnx"), False)
        finally:
            logging.disable(logging.NOTSET)
    return _saved(folder)


# Kept layers.


@pytest.mark.parametrize("keep", [["stem"], ["one"], ["two", "head"], ["up"], NAMES[1:], NAMES])
def test_kept_layers_have_their_weights_and_read_what_is_exact(model, ranges, keep):
    made = Wired(quantize(model, ranges, keep))
    for layer in layers(model):
        node = made.by_key(layer.key)
        assert (made.quantized(node.input[0]) is None) == (layer.name in keep)
        if layer.name in keep:
            assert node.input[0] == layer.input
            np.testing.assert_array_equal(made.weights[node.input[1]], _float(model, node.input[1]))
    # A pair that no layer needs is not there; one that the other layers need is read by the Add all the same.
    assert (made.quantized(made.by_key("sum").input[1]) == "r0") == ("one" not in keep)


def test_a_pair_that_one_of_two_layers_reads(ranges):
    model = residual_detector()
    model.graph.node[5].input[0] = "r0"  # two reads it beside one
    model.graph.node[7].input[1] = "sum"
    made = Wired(quantize(model, ranges, ["two"]))
    assert made.by_key("c2").input[0] == "r0"
    assert made.quantized(made.by_key("c1").input[0]) == made.quantized(made.by_key("sum").input[1]) == "r0"


def test_with_all_kept_the_answers_are_the_networks(model, ranges):
    made = quantize(model, ranges, NAMES)
    picture = pictures(1)[0]
    want, got = as_stored(model, images=picture), as_stored(made, images=picture)
    for name, value in want.items():
        np.testing.assert_array_equal(got[name], value)
    assert not any(node.op_type.endswith("Linear") for node in made.graph.node)


# Numbers.


@pytest.mark.parametrize("half", [False, True])
def test_weights_are_within_half_a_step(model, ranges, half):
    made = Wired(quantize(model, ranges, half_scales=half))
    for layer in layers(model):
        weight = _float(model, next(n for n in model.graph.node if key_of(n) == layer.key).input[1])
        scale = made.weights[made.by_key(made.by_key(layer.key).input[1]).input[1]].astype(np.float64)
        shape = (1, -1, 1, 1) if layer.op == "ConvTranspose" else (-1, 1, 1, 1)
        steps = np.abs(made.weight(layer.key).astype(np.float64) - weight) / scale.reshape(shape)
        assert 0 < steps.max() <= 0.5 + 1e-5
        if half:
            np.testing.assert_array_equal(scale, scale.astype(np.float16))
    # And the picture's steps are those of its range.
    q = next(node for node in made.nodes if node.op_type == "QuantizeLinear" and node.input[0] == "images")
    assert made.weights[q.input[1]] == pytest.approx(ranges["images"] / 127, rel=1e-3)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_any_weight_is_within_half_a_step(seed, half):
    rng = np.random.default_rng(seed)
    # From subnormal numbers to the largest that float16 knows, by channel.
    size = np.geomspace(1e-44, 6e4, 24)[:, None, None, None]
    weight = (rng.uniform(-1, 1, (24, 5, 3, 3)) * size).astype(np.float32)
    weight[3] = 0
    weight[5, :, 0] = 0
    steps, scales = quantized_weight(weight, 0, half)
    assert (scales > 0).all()
    assert np.isfinite(scales).all()
    assert np.abs(steps).max() <= 127
    apart = np.abs(steps.astype(np.float64) * scales[:, None, None, None] - weight)
    assert (apart <= (0.5 + 1e-5) * scales[:, None, None, None].astype(np.float64)).all()
    turned, same = quantized_weight(weight.swapaxes(0, 1), 1, half)
    np.testing.assert_array_equal(turned, steps.swapaxes(0, 1))
    np.testing.assert_array_equal(same, scales)


def test_scales():
    assert scales_of(np.array([127, 0, 1e-45])).tolist() == [1, 1, 1]
    half = scales_of(np.array([1e9, 1e-9, 1.0]), half=True)
    assert half.tolist() == half.astype(np.float16).tolist()
    assert half[1] > 0
    assert 0 <= half[2] * 127 - 1 < 1e-3


def test_channels_and_tensors_that_are_never_active_give_finite_answers(model):
    weight = _float(model, "stem.weight").copy()
    weight[2:4] = 0
    dead = residual_detector(stem_weight=weight, stem_bias=np.full(8, -9, np.float32))
    found = ranges_of(dead)
    assert found["r0"] == 0
    made = quantize(dead, found)
    picture = pictures(1)[0]
    for name, value in as_stored(made, images=picture).items():
        assert np.isfinite(value).all()
        np.testing.assert_allclose(value, as_stored(dead, images=picture)[name], atol=0.1)


@pytest.mark.parametrize("half", [False, True])
def test_int8_answers_as_float32_does(model, ranges, half):
    picture = pictures(4)[3]
    want, got = as_stored(model, images=picture), as_stored(quantize(model, ranges, half_scales=half), images=picture)
    assert np.abs(got["scores"] - want["scores"]).max() < 0.05
    assert np.abs(got["boxes"] - want["boxes"]).max() < 0.2
    assert np.abs(want["scores"] - want["scores"].mean()).max() > 0.2  # the picture is seen


# Forms of networks.


def test_layers_that_share_a_weight(ranges):
    model = residual_detector()
    two = model.graph.node[5]
    two.CopyFrom(helper.make_node("Conv", ["sum", "one.weight", "two.bias"], ["c2"], pads=[1, 1, 1, 1], name="n2"))
    names = [layer.name for layer in layers(model)]
    assert names == ["stem", "one@c1", "one@c2", "up", "head"]
    made = Wired(quantize(model, ranges))
    assert made.by_key("c1").input[1] == made.by_key("c2").input[1]
    kept = Wired(quantize(model, ranges, ["one@c2"]))
    np.testing.assert_array_equal(kept.weights[kept.by_key("c2").input[1]], _float(model, "one.weight"))
    np.testing.assert_array_equal(kept.weight("c1"), made.weight("c1"))


def test_a_weight_shared_by_both_kinds_has_scales_for_each():
    weight = np.random.default_rng(3).normal(0, 1, (8, 8, 1, 1)).astype(np.float32)
    weight *= np.geomspace(0.01, 1, 8, dtype=np.float32)[:, None, None, None]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["images", "w"], ["a"]),
            helper.make_node("ConvTranspose", ["a", "w"], ["b"]),
        ],
        "both",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, (1, 8, 4, 4))],
        [helper.make_tensor_value_info("b", TensorProto.FLOAT, (1, 8, 4, 4))],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    made = Wired(quantize(model, {"images": 1.0, "a": 2.0}))
    for key, axis in (("a", 0), ("b", 1)):
        steps, scales = quantized_weight(weight, axis)
        shape = [-1 if at == axis else 1 for at in range(4)]
        np.testing.assert_allclose(made.weight(key), steps * scales.reshape(shape))


def test_weights_in_constant_nodes(model, ranges):
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    weight = next(weight for weight in copy.graph.initializer if weight.name == "one.weight")
    copy.graph.initializer.remove(weight)
    copy.graph.node.insert(0, helper.make_node("Constant", [], ["one.weight"], value=weight))
    assert layers(copy) == layers(model)
    made = quantize(copy, ranges)
    assert not any(node.op_type == "Constant" for node in made.graph.node)
    picture = pictures(1)[0]
    want = as_stored(quantize(model, ranges), images=picture)
    for name, value in as_stored(made, images=picture).items():
        np.testing.assert_array_equal(value, want[name])


def test_the_model_that_comes_is_not_changed_and_metadata_goes_on(model, ranges):
    before = model.SerializeToString()
    made = quantize(model, ranges, ["two", "one"], origin={"method": "minmax", "pictures": 4})
    assert model.SerializeToString() == before
    told = {entry.key: entry.value for entry in made.metadata_props}
    assert told["architecture"] == "tiny"
    assert json.loads(told["quantized"]) == {"method": "minmax", "pictures": 4, "kept": ["one", "two"]}
    assert [(entry.domain, entry.version) for entry in made.opset_import] == [("", 19)]


def test_the_file_is_a_quarter():
    wide = np.random.default_rng(0).normal(0, 1, (512, 8, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["images", "w"], ["y"])],
        "wide",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, (1, 8, 4, 4))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 512, 2, 2))],
        [numpy_helper.from_array(wide, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    made = quantize(model, {"images": 3.0})
    assert made.ByteSize() < 0.3 * model.ByteSize()
    x = np.random.default_rng(1).uniform(-3, 3, (1, 8, 4, 4)).astype(np.float32)
    want = run(model, images=x)["y"]
    assert np.abs(run(made, images=x)["y"] - want).max() < 0.03 * np.abs(want).max()


# TensorRT.


@pytest.mark.parametrize("keep", [[], ["stem", "two"]])
def test_tensorrt_builds_it_strongly_typed(model, ranges, keep):
    trt = pytest.importorskip("tensorrt_rtx")
    said = []

    class Log(trt.ILogger):
        def __init__(self):
            trt.ILogger.__init__(self)

        def log(self, severity, message):
            if severity <= trt.ILogger.ERROR:
                said.append(message)

    log = Log()
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    parsed = parser.parse(quantize(model, ranges, keep).SerializeToString())
    assert parsed, said
    plan = builder.build_serialized_network(network, builder.create_builder_config())
    assert plan is not None, said
    assert plan.nbytes > 1000
    assert [network.get_output(i).dtype for i in range(2)] == [trt.float32] * 2


# Errors.


@pytest.mark.parametrize("call", [quantize, lambda model, _: Calibrator(model), lambda model, _: to_calibrate(model)])
def test_a_network_without_convolutions(call):
    graph = helper.make_graph(
        [helper.make_node("Relu", ["images"], ["y"])],
        "flat",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, (1, 3, 4, 4))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 3, 4, 4))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    with pytest.raises(BundleError, match="flat: wanted convolutions to quantize, got none"):
        call(model, {})


@pytest.mark.parametrize("call", [quantize, lambda model, _: Calibrator(model), lambda model, _: to_calibrate(model)])
def test_a_network_that_is_quantized_already(model, ranges, call, tmp_path):
    elsewhere = onnx.load(quantized_detector(tmp_path / "q.onnx", 19))
    for again in (quantize(model, ranges), elsewhere):
        with pytest.raises(BundleError, match="got one with Q/DQ nodes: it is quantized already"):
            call(again, ranges)


def test_a_missing_range(model, ranges):
    missing = {name: amax for name, amax in ranges.items() if name != "cat"}
    for wrong, got in ((missing, "none"), (ranges | {"cat": float("nan")}, "nan"), (ranges | {"cat": -1.0}, "-1")):
        with pytest.raises(BundleError, match=f"tiny: layer up wants a range of 'cat', got {got}"):
            quantize(model, wrong)
    quantize(model, missing, ["up"])  # which needs none then


def test_a_layer_to_keep_that_is_none(model, ranges):
    with pytest.raises(UsageError, match=r"keep: wanted names of layers, such as stem, got neck, nose"):
        quantize(model, ranges, ["one", "nose", "neck"])


def test_another_opset(ranges):
    with pytest.raises(BundleError, match="tiny: wanted opset 19, got 17"):
        quantize(residual_detector(17), ranges)


def test_weights_that_are_not_float32_numbers(ranges):
    half = residual_detector(two_weight=np.ones((8, 8, 1, 1), np.float16))
    with pytest.raises(BundleError, match=r"'two.weight' wants float32, got float16; quantize before halving"):
        quantize(half, ranges)
    nan = residual_detector(two_weight=np.full((8, 8, 1, 1), np.nan, np.float32))
    with pytest.raises(BundleError, match=r"'two.weight' holds NaN or infinity"):
        quantize(nan, ranges)


def test_the_tiny_network_is_what_it_says(model):
    got = as_stored(model, images=np.zeros((1, 3, PX, PX), np.float32))
    assert {name: value.shape for name, value in got.items()} == {"boxes": (1, ANCHORS, 4), "scores": (1, ANCHORS, 3)}
