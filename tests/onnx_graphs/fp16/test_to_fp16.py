"""Networks converted to float16: types of tensors, outputs, and that ONNX Runtime and TensorRT load them."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.fp16.emulate import emulate_fp16
from nanoseg.onnx_graphs.fp16.to_fp16 import to_fp16
from nanoseg.onnx_graphs.model.nodes import box_decode_nodes
from tests.helpers.onnx_run import run
from tests.helpers.small_graphs import (
    CONV,
    CONV_WEIGHTS,
    FLOAT,
    HALF,
    casts,
    network,
    node,
    operators_in,
    some,
    weights,
)
from tests.helpers.tiny_detectors import quantized_detector

# Nodes and constants, the operators that stay float32, how far outputs may be from float32's.
CASES: dict[str, tuple[Sequence[onnx.NodeProto], dict[str, Any], set[str], float]] = {
    "residual": ([CONV, node("Relu", "c", "r"), node("Add", "r x", "y")], CONV_WEIGHTS, set(), 5e-3),
    "pooling": ([CONV, node("MaxPool", "c", "y", kernel_shape=[2, 2], strides=[2, 2])], CONV_WEIGHTS, set(), 5e-3),
    "transposed": (
        [node("ConvTranspose", "x w", "y", kernel_shape=[2, 2], strides=[2, 2])],
        {"w": weights(4, 2, 2, 2)},
        set(),
        5e-3,
    ),
    # Its region and its scales are float32 whatever it resizes.
    "resize": ([CONV, node("Resize", "c roi s", "y", mode="linear")],
               {**CONV_WEIGHTS, "s": [1.0, 1.0, 2.0, 2.0], "roi": np.zeros(0, np.float32)}, set(), 5e-3),
    "gelu": ([node("Div", "x r", "d"), node("Erf", "d", "e"), node("Add", "e one", "a"), node("Mul", "x a", "m"),
              node("Mul", "m h", "y")], {"r": 2**0.5, "one": 1.0, "h": 0.5}, set(), 5e-3),
    "layer norm": ([CONV, node("LayerNormalization", "c g", "n"), node("Relu", "n", "y")],
                   {**CONV_WEIGHTS, "g": weights(8)}, {"LayerNormalization"}, 1e-2),
    # SAM's LayerNorm2d, as exporters spell it out: all between the mean and the division is float32.
    "spelled norm": (
        [CONV, node("ReduceMean", "c axis", "m"), node("Sub", "c m", "s"), node("Pow", "s two", "p"),
         node("ReduceMean", "p axis", "v"), node("Add", "v eps", "e"), node("Sqrt", "e", "q"), node("Div", "s q", "d"),
         node("Mul", "d g", "y")],
        {**CONV_WEIGHTS, "axis": np.array([1]), "two": 2.0, "eps": 1e-6, "g": weights(1, 4, 1, 1)},
        {"ReduceMean", "Sub", "Pow", "Add", "Sqrt", "Div"}, 1e-2,
    ),
    "squared by Mul": (
        [node("ReduceMean", "x axis", "m"), node("Sub", "x m", "s"), node("Mul", "s s", "p"),
         node("ReduceMean", "p axis", "v"), node("Add", "v eps", "e"), node("Sqrt", "e", "q"), node("Div", "s q", "d"),
         node("Relu", "d", "y")],
        {"axis": np.array([1]), "eps": 1e-6}, {"ReduceMean", "Sub", "Mul", "Add", "Sqrt", "Div"}, 1e-2,
    ),
    "instance norm": ([node("InstanceNormalization", "x g z", "n"), node("Relu", "n", "y")],
                      {"g": weights(4), "z": weights(4)}, {"InstanceNormalization"}, 1e-2),
    "batch norm": ([node("BatchNormalization", "x g z m v", "y")],
                   {"g": weights(4), "z": weights(4), "m": weights(4), "v": [0.5, 1.0, 2.0, 3.0]}, set(), 1e-2),
    "squeeze and excite": (
        [node("GlobalAveragePool", "x", "p"), node("Conv", "p w", "c"), node("Sigmoid", "c", "s"),
         node("Mul", "x s", "y")], {"w": weights(4, 4, 1, 1)}, {"GlobalAveragePool"}, 5e-3,
    ),
    "attention": (
        [node("Reshape", "x flat", "q"), node("Transpose", "q", "k", perm=[0, 2, 1]), node("MatMul", "k q", "l"),
         node("Softmax", "l", "s"), node("MatMul", "s k", "y")], {"flat": np.array([1, 4, 64])}, set(), 1e-2,
    ),
    "long softmax": (
        [node("Tile", "x times", "t"), node("Reshape", "t flat", "f"), node("Softmax", "f", "s"),
         node("Mul", "s big", "y")],
        {"times": np.array([1, 1, 1, 8]), "flat": np.array([1, 2048]), "big": 100.0}, {"Softmax"}, 1e-2,
    ),
    "parts": ([node("Split", "x", "a b", axis=1, num_outputs=2), node("Concat", "b a", "c", axis=1),
               node("Slice", "c one three axis", "y")],
              {"one": np.array([1]), "three": np.array([3]), "axis": np.array([1])}, set(), 2e-3),
    "unit length": (
        [node("ReduceL2", "x axis", "l"), node("Clip", "l eps", "c"), node("Div", "x c", "d"), node("Relu", "d", "y")],
        {"axis": np.array([1]), "eps": 1e-12}, {"ReduceL2", "Clip", "Div"}, 1e-2,
    ),
    "far mask": ([node("Greater", "x zero", "g"), node("Where", "g x far", "w"), node("Softmax", "w", "y")],
                 {"zero": 0.0, "far": -1e9}, {"Where"}, 5e-3),
    "constant node": (
        [node("Constant", "", "k", value=numpy_helper.from_array(np.float32(3))), node("Mul", "x k", "y")],
        {}, set(), 2e-3,
    ),
    # What lies between two whole norms is no part of either.
    "residual of norms": (
        [node("LayerNormalization", "x g", "n"), node("Add", "n x", "a"), node("LayerNormalization", "a g", "m"),
         node("Relu", "m", "y")], {"g": weights(8)}, {"LayerNormalization"}, 1e-2,
    ),
    # A position encoding: an angle of hundreds of turns is float32 from the input on.
    "angles": (
        [node("Add", "x half", "a"), node("Mul", "a turns", "t"), node("Sin", "t", "s"), node("Cos", "t", "c"),
         node("Concat", "s c", "e", axis=1), node("Conv", "e w", "y")],
        {"half": 0.5, "turns": 500 * np.pi, "w": weights(4, 8, 1, 1)}, {"Add", "Mul", "Sin", "Cos"}, 1e-2,
    ),
    # A grid that is the same for every picture is computed exactly.
    "grid": (
        [node("Range", "zero eight one", "r"), node("Mul", "r fine", "f"), node("Add", "x f", "a"),
         node("Relu", "a", "y")],
        {"zero": 0.0, "eight": 8.0, "one": 1.0, "fine": 0.333}, {"Range", "Mul"}, 1e-2,
    ),
    "computed sides": (
        [node("Shape", "x", "s"), node("Cast", "s", "f", to=FLOAT), node("Mul", "f odd", "g"),
         node("Cast", "g", "i", to=TensorProto.INT64), node("Resize", "x   i", "y", mode="nearest")],
        {"odd": [1.0, 1.0, 1.5, 1.5]}, {"Mul"}, 2e-3,
    ),
}  # fmt: skip
CASES["computed sides"][0][-1].input[:] = ["x", "", "", "i"]


@pytest.mark.parametrize("case", CASES)
def test_to_fp16_outputs_are_close_and_valid(case: str) -> None:
    nodes, constants, stays, limit = CASES[case]
    model = network(nodes, **constants)
    converted = to_fp16(model)
    onnx.checker.check_model(converted, full_check=True)
    assert operators_in(converted, FLOAT) == stays
    assert operators_in(converted, HALF)
    x = some()
    want = run(model, x=x)["y"]
    for got in (run(converted, x=x)["y"], run(emulate_fp16(converted), x=x)["y"]):
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, want, rtol=limit, atol=limit)
    assert not np.array_equal(run(emulate_fp16(converted), x=x)["y"], want)  # it is rounded


@pytest.mark.parametrize("case", CASES)
def test_to_fp16_builds_with_tensorrt(case: str) -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="needs nanoseg[rtx]")
    nodes, constants, _, _ = CASES[case]
    log = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(log)
    network_of = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network_of, log)
    model = to_fp16(network(nodes, **constants))
    assert parser.parse(model.SerializeToString()), [parser.get_error(i).desc() for i in range(parser.num_errors)]
    assert builder.build_serialized_network(network_of, builder.create_builder_config()) is not None
    assert network_of.get_output(0).dtype == trt.float32


def test_to_fp16_has_one_cast_a_tensor_and_direction() -> None:
    nodes = [
        node("Conv", "x w", "c"), node("Relu", "x", "r"), node("Add", "c r", "a"), node("Exp", "a", "e"),
        node("Pow", "a e", "t"), node("Conv", "t w", "u"), node("Sigmoid", "t", "v"),
        node("Add", "u v", "y"), node("Relu", "y", "z"),
    ]  # fmt: skip
    converted = to_fp16(network(nodes, outputs="y z e", w=weights(4, 4, 1, 1)))
    assert casts(converted) == [
        ("x", "x/float16"),  # right behind the input
        ("a", "a/float32"),  # for both of its readers
        ("t", "t/float16"),
        ("y/float16", "y"),  # right before the output; Relu reads what was there before
        ("z/float16", "z"),
    ]
    assert next(n for n in converted.graph.node if n.output[0] == "z/float16").input[0] == "y/float16"
    assert [value.type.tensor_type.elem_type for value in (*converted.graph.input, *converted.graph.output)] == [
        FLOAT
    ] * 4


def test_to_fp16_keeps_nodes_exactly() -> None:
    """A weight that float16 and float32 read is there twice, one that is read once keeps its name."""
    nodes = [node("Conv", "x w", "c"), node("Relu", "c", "r"), node("Conv", "r w", "d"), node("Mul", "d k", "y")]
    model = network(nodes, w=weights(4, 4, 1, 1), k=weights(1, 4, 1, 1))
    converted = to_fp16(model, keep={"d", "y"})
    types = {w.name: w.data_type for w in converted.graph.initializer}
    assert types == {"w": FLOAT, "w/float16": HALF, "k": FLOAT}
    assert operators_in(converted, FLOAT) == {"Conv", "Mul"}
    first = network(nodes[:2], outputs="r", w=weights(4, 4, 1, 1))
    r = run(emulate_fp16(to_fp16(first)), x=some())["r"]
    own = network(nodes[2:], w=weights(4, 4, 1, 1), k=weights(1, 4, 1, 1))
    own.graph.input[0].name = "r"
    np.testing.assert_array_equal(run(emulate_fp16(converted), x=some())["y"], run(own, r=r)["y"])


def test_to_fp16_does_not_change_its_argument() -> None:
    model = network([CONV, node("Relu", "c", "y")], **CONV_WEIGHTS)
    model.metadata_props.add(key="weights", value="mine")
    before = model.SerializeToString()
    assert [(entry.key, entry.value) for entry in to_fp16(model).metadata_props] == [("weights", "mine")]
    assert model.SerializeToString() == before


def test_to_fp16_of_a_quantized_detector(tmp_path: Path) -> None:
    """Scales become float16 and INT8 stays; the decode of boxes is float32, to the bit."""
    model = onnx.version_converter.convert_version(onnx.load(quantized_detector(tmp_path / "q.onnx")), 19)
    converted = to_fp16(model, box_decode_nodes(model.graph.node))
    onnx.checker.check_model(converted, full_check=True)
    before, after = ({w.name: w for w in each.graph.initializer} for each in (model, converted))
    for name in ("w1", "w2", "zero", "z1"):
        assert after[name] == before[name]
    assert [after[name].data_type for name in ("in_scale", "mid_scale", "s1", "s2")] == [HALF] * 4
    assert [after[name].data_type for name in ("corners", "wide")] == [FLOAT] * 2
    assert casts(converted) == [("images", "images/float16"), ("c2", "c2/float32")]
    images = np.random.default_rng(0).random((1, 3, 64, 64), np.float32)
    got, want = run(emulate_fp16(converted), images=images), run(model, images=images)
    assert np.abs(got["scores"] - want["scores"]).max() < 0.02  # a number of INT8 may fall to either side
    decode = onnx.utils.Extractor(onnx.shape_inference.infer_shapes(model)).extract_model(["c2"], ["boxes", "scores"])
    logits = onnx.utils.Extractor(onnx.shape_inference.infer_shapes(converted)).extract_model(
        ["images"], ["c2/float32"]
    )
    exact = run(decode, c2=run(emulate_fp16(logits), images=images)["c2/float32"])
    np.testing.assert_array_equal(got["boxes"], exact["boxes"])
    np.testing.assert_array_equal(got["scores"], exact["scores"])


def test_to_fp16_scales_stay_positive() -> None:
    """TensorRT takes no other, and a division by 0 would be the end of all numbers."""
    nodes = [
        node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z", "d"), node("Relu", "d", "y"),
    ]  # fmt: skip
    converted = to_fp16(network(nodes, s=1e-9, z=np.int8(0)))
    scale = next(w for w in converted.graph.initializer if w.name == "s")
    assert numpy_helper.to_array(scale) == np.float16(2.0**-24)
    assert np.isfinite(run(emulate_fp16(converted), x=some())["y"]).all()


def test_to_fp16_qdq_at_float32_nodes_needs_no_cast() -> None:
    nodes = [
        node("Conv", "x w", "c"), node("Exp", "c", "e"), node("QuantizeLinear", "e s z", "q"),
        node("DequantizeLinear", "q s z", "d"), node("Log", "d", "y"),
    ]  # fmt: skip
    converted = to_fp16(network(nodes, w=weights(4, 4, 1, 1), s=0.01, z=np.int8(0)))
    assert casts(converted) == [("x", "x/float16"), ("c", "c/float32")]
    assert Counter(w.data_type for w in converted.graph.initializer) == {HALF: 1, FLOAT: 1, TensorProto.INT8: 1}


def test_to_fp16_keeps_subgraphs() -> None:
    answer = helper.make_tensor_value_info("o", FLOAT, None)
    inner = [helper.make_graph([node(op, "c k", "o")], op, [], [answer]) for op in ("Mul", "Add")]
    nodes = [
        node("Conv", "x w", "c"), node("ReduceMax", "c", "m", keepdims=0), node("Greater", "m zero", "g"),
        node("If", "g", "i", then_branch=inner[0], else_branch=inner[1]), node("Relu", "i", "y"),
    ]  # fmt: skip
    model = network(nodes, w=weights(4, 4, 1, 1), k=2.0, zero=0.0)
    converted = to_fp16(model)
    onnx.checker.check_model(converted, full_check=True)
    np.testing.assert_allclose(run(converted, x=some())["y"], run(model, x=some())["y"], rtol=5e-3, atol=5e-3)
    assert ("c", "c/float32") in casts(converted)
    assert ("i", "i/float16") in casts(converted)


def external() -> onnx.ModelProto:
    model = network([CONV, node("Relu", "c", "y")], **CONV_WEIGHTS)
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="weights.bin")
    return model


def of_another_domain() -> onnx.ModelProto:
    model = network([CONV, node("Relu", "c", "y")], **CONV_WEIGHTS)
    model.graph.node[1].domain = "own"
    model.graph.node.append(node("Relu", "y", "z"))
    model.graph.output[0].name = "z"
    model.opset_import.add(domain="own", version=1)
    return model


CANNOT = {
    "converted": (lambda: to_fp16(network([CONV, node("Relu", "c", "y")], **CONV_WEIGHTS)),
               "tiny: wanted a float32 network, got one with float16 tensors: it is converted already"),
    "nothing to convert": (lambda: network([node("Exp", "x", "y")]),
                         "tiny: wanted operators in float32 that float16 could hold, got none; nothing to convert"),
    "weights beside it": (external, "tiny: 'w' wants its numbers in the model, got them in another file; load both"),
    "does not fit": (lambda: network([node("Add", "x k", "y")], k=np.ones(4, np.int64)), "tiny: does not fit together"),
    "unknown": (of_another_domain, "tiny: 'y' wants a known type, got Relu, which has none"),
}  # fmt: skip


@pytest.mark.parametrize("case", CANNOT)
def test_to_fp16_refuses(case: str) -> None:
    model, message = CANNOT[case]
    with pytest.raises(BundleError) as caught:
        to_fp16(model())
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("opset", [13, 17, 19])
def test_to_fp16_of_older_opsets(opset: int) -> None:
    """Before opset 19 a DequantizeLinear gives float32 alone."""
    nodes = [
        node("Conv", "x w", "c"), node("QuantizeLinear", "c s z", "q"), node("DequantizeLinear", "q s z", "d"),
        node("Relu", "d", "y"),
    ]  # fmt: skip
    converted = to_fp16(network(nodes, opset, w=weights(4, 4, 1, 1), s=0.02, z=np.int8(0)))
    assert operators_in(converted, HALF) == {"Conv", "Relu"} | ({"DequantizeLinear"} if opset >= 19 else set())
    assert np.isfinite(run(converted, x=some())["y"]).all()
