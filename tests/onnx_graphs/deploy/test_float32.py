"""Q/DQ taken out and float16 widened: what is left computes what the file says, in float32."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from nanoseg.onnx_graphs.deploy.float32 import emulated_graph, float32_graph
from nanoseg.onnx_graphs.fp16.to_fp16 import to_fp16
from nanoseg.onnx_graphs.fp16.to_fp32 import to_fp32
from nanoseg.onnx_graphs.int8.strip_qdq import strip_qdq
from nanoseg.onnx_graphs.model.shapes import dtype_of
from tests.helpers.tiny_detectors import quantized_detector
from tests.helpers.tiny_networks import FLOAT, HALF, encoder, save
from tests.onnx_graphs.int8.test_quantized_elsewhere import plainly

Q, DQ = "QuantizeLinear", "DequantizeLinear"
RNG = np.random.default_rng
SIDE = 6


def node(op: str, inputs: str, output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), [output], name=f"{output}/{op}", **attributes)


def network(
    nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], opset: int = 19, dtype: int = FLOAT, c: int = 4
) -> onnx.ModelProto:
    """`x` (1, c, 6, 6) -> `y`, of the same shape."""
    x, y = (helper.make_tensor_value_info(name, dtype, (1, c, SIDE, SIDE)) for name in "xy")
    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", [x], [y], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model


def some_x(model: onnx.ModelProto, seed: int = 0) -> np.ndarray:
    kind = helper.tensor_dtype_to_np_dtype(dtype_of(model.graph.input[0]))
    return RNG(seed).normal(0, 1, (1, 4, SIDE, SIDE)).astype(kind)


def operators(model: onnx.ModelProto) -> set[str]:
    return {one.op_type for one in model.graph.node}


def tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    """All constants, wherever they stand."""
    yield from graph.initializer
    for one in graph.node:
        for attribute in one.attribute:
            yield attribute.t
            for inner in (attribute.g, *attribute.graphs):
                yield from tensors(inner)


INT8, UINT8 = np.int8, np.uint8
# how weights are quantized: op, axis (None: one scale for all), type, zero point, scale's type, as floats behind Q/DQ
WEIGHTS = [
    ("Conv", 0, INT8, 0, np.float32, False),
    ("Conv", 0, INT8, 0, np.float16, False),
    ("Conv", None, INT8, 0, np.float32, False),
    ("Conv", None, UINT8, 131, np.float32, False),
    ("Conv", 0, UINT8, 120, np.float32, False),
    ("Conv", -4, INT8, 0, np.float32, False),
    ("ConvTranspose", 1, INT8, 0, np.float32, False),
    ("Conv", 0, INT8, 0, np.float32, True),
    ("Conv", None, UINT8, 131, np.float32, True),
]


@pytest.mark.parametrize(
    ("opset", "op", "axis", "kind", "zero", "scale_type", "as_floats"),
    # Before opset 19 scales were float32.
    [(opset, *row) for opset in (13, 19) for row in WEIGHTS if opset == 19 or row[4] is np.float32],
)
def test_weights_become_what_onnx_runtime_dequantizes_them_to(
    opset: int, op: str, axis: int | None, kind: type, zero: int, scale_type: type, as_floats: bool
) -> None:
    rng, ends = RNG(1), np.iinfo(kind)
    numbers = rng.integers(ends.min, ends.max + 1, (4, 4, 3, 3)).astype(kind)
    scales = rng.uniform(1e-3, 1e-2, () if axis is None else 4).astype(scale_type)
    zeros = np.full(scales.shape, zero, kind)
    attributes = {} if axis is None else {"axis": axis}
    floats = (rng.normal(0, 0.3, (4, 4, 3, 3))).astype(scale_type)
    dtype = HALF if scale_type is np.float16 else FLOAT
    model = network(
        [
            *([node(Q, "floats s z", "n", **attributes)] if as_floats else []),
            node(DQ, "n s z", "w", **attributes),
            node(op, "x w b", "y", pads=[1, 1, 1, 1]),
        ],
        {
            "s": scales,
            "z": zeros,
            "b": np.zeros(4, scale_type),
            **({"floats": floats} if as_floats else {"n": numbers}),
        },
        opset,
        dtype,
    )
    asked = onnx.ModelProto()
    asked.CopyFrom(model)
    asked.graph.output.append(helper.make_tensor_value_info("w", dtype, None))
    wanted = plainly(asked, x=some_x(model))["w"]
    to_fp32(model)
    strip_qdq(model)
    assert operators(model) == {op}
    weights = {weight.name: numpy_helper.to_array(weight) for weight in model.graph.initializer}
    assert weights.keys() == {"w", "b"}
    assert weights["w"].dtype == np.float32
    np.testing.assert_allclose(weights["w"], wanted, rtol=1e-6 if scale_type is np.float32 else 2**-11)
    if not as_floats:  # and with float16 scales nothing more is rounded
        shaped = scales if axis is None else scales.reshape([4 if at == axis % 4 else 1 for at in range(4)])
        np.testing.assert_allclose(weights["w"], (numbers.astype(np.float64) - zero) * shaped, rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "zero", "low", "high"),
    [
        (np.int8, 0, -128, 127),
        (np.uint8, 128, -128, 127),
        (np.uint8, 0, 0, 255),
        (np.int8, -128, 0, 255),
        (np.uint8, 40, -40, 215),
        (None, None, 0, 255),
    ],
)
@pytest.mark.parametrize("scale_type", [np.float32, np.float16])
def test_activations_lose_their_rounding_and_nothing_else(
    kind: type | None, zero: int | None, low: int, high: int, scale_type: type
) -> None:
    """They are still cut off where the numbers end."""
    scale = scale_type(0.02)
    constants = {"s": scale, **({} if kind is None else {"z": kind(zero)})}
    pair = "s" if kind is None else "s z"
    nodes = [node(Q, f"x {pair}", "q"), node(DQ, f"q {pair}", "d"), node("Neg", "d", "y")]
    model = network(nodes, constants, dtype=HALF if scale_type is np.float16 else FLOAT)
    x = np.linspace(-8, 8, 144, dtype=scale_type).reshape(1, 4, 6, 6)
    stored = plainly(model, x=x)["y"]
    to_fp32(model)
    strip_qdq(model)
    assert operators(model) == {"Clip", "Neg"}
    got = plainly(model, x=x.astype(np.float32))["y"]
    assert np.abs(got - stored).max() <= scale * 0.51 + (0.004 if scale_type is np.float16 else 0)
    wanted = x.astype(np.float64).clip(low * float(scale), high * float(scale))
    np.testing.assert_allclose(got, -wanted, rtol=1e-6, atol=1e-6)


def pairs(after: str, before: str, **scales: float) -> onnx.ModelProto:
    """x quantized, something done, dequantized; scales s and t."""
    nodes = [node(Q, "x s z", "q"), *([node(after, "q", "m", **POOL)] if after else []), node(DQ, before, "y")]
    return network(nodes, {"z": np.int8(0)} | {name: np.float32(value) for name, value in scales.items()})


POOL = {"kernel_shape": [1, 1]}
KEPT = {
    "another scale": lambda: pairs("", "q t z", s=0.02, t=0.03),
    "an operator between": lambda: pairs("MaxPool", "m s z", s=0.02),
    "a computed scale": lambda: network(
        [node("ReduceMax", "x", "top", keepdims=0), node("Div", "top ends", "s"), node(Q, "x s z", "q"),
         node(DQ, "q s z", "y")],
        {"z": np.int8(0), "ends": np.float32(127)},
    ),
    "by channel": lambda: network(
        [node(Q, "x s z", "q", axis=1), node(DQ, "q s z", "y", axis=1)],
        {"z": np.zeros(4, np.int8), "s": np.full(4, 0.02, np.float32)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", KEPT)
def test_what_is_no_plain_pair_stays(case: str) -> None:
    model = KEPT[case]()
    x = some_x(model)
    stored = plainly(model, x=x)["y"]
    strip_qdq(model)
    assert {Q, DQ} <= operators(model)
    np.testing.assert_array_equal(plainly(model, x=x)["y"], stored)


def test_a_pair_between_convolutions_that_is_read_twice_and_given_out() -> None:
    """Both readers and the output by its name; scales that differ by float16's rounding are one."""
    kernel = RNG(2).normal(0, 0.3, (4, 4, 1, 1)).astype(np.float32)
    nodes = [
        node("Conv", "x w", "c"),
        node("Relu", "c", "r"),
        node(Q, "r s z", "q"),
        node(DQ, "q s z", "d"),
        node(DQ, "q t z", "e"),
        node("Conv", "d w", "f"),
        node("Add", "f e", "y"),
    ]
    model = network(nodes, {"w": kernel, "s": np.float32(0.05), "t": np.float32(np.float16(0.05)), "z": np.int8(0)})
    model.graph.output.append(helper.make_tensor_value_info("d", FLOAT, (1, 4, SIDE, SIDE)))
    plain = network(
        [node("Conv", "x w", "c"), node("Relu", "c", "r"), node("Conv", "r w", "f"), node("Add", "f r", "y")],
        {"w": kernel},
    )
    plain.graph.output.append(helper.make_tensor_value_info("r", FLOAT, (1, 4, SIDE, SIDE)))
    x = some_x(model)
    strip_qdq(model)
    assert operators(model) == {"Conv", "Relu", "Clip", "Add", "Identity"}
    assert [value.name for value in model.graph.output] == ["y", "d"]
    got, wanted = plainly(model, x=x), plainly(plain, x=x)
    np.testing.assert_array_equal(got["y"], wanted["y"])
    np.testing.assert_array_equal(got["d"], wanted["r"])


def half_network() -> onnx.ModelProto:
    """Float16 in constants of all kinds, in an inner graph, in Casts that lead to it and away."""
    branches = {}
    for name, by in (("then_branch", 2.0), ("else_branch", 3.0)):
        value = numpy_helper.from_array(np.array(by, np.float16), "by")
        out = helper.make_tensor_value_info(f"{name}/y", HALF, None)
        inner = [helper.make_node("Mul", ["c", "by"], [f"{name}/y"])]
        branches[name] = helper.make_graph(inner, name, [], [out], [value])
    fill = numpy_helper.from_array(np.array([0.25], np.float16))
    return network(
        [
            node("Cast", "x", "h", to=HALF),
            node("Conv", "h w", "c"),
            helper.make_node("If", ["yes"], ["i"], name="if", **branches),
            node("ConstantOfShape", "four", "k", value=fill),
            node("Add", "i k", "a"),
            node("Cast", "ones", "o", to=HALF),
            node("Add", "a o", "s"),
            helper.make_node("Constant", [], ["n"], value=numpy_helper.from_array(np.array(0.1, np.float16))),
            node("Mul", "s n", "p"),
            node("Cast", "p", "y", to=FLOAT),
        ],
        {
            "w": RNG(3).normal(0, 0.3, (4, 4, 1, 1)).astype(np.float16), "yes": np.array(True),
            "four": np.array([1, 4, 1, 1]), "ones": np.ones((1, 4, 1, 1), np.int64),
        },
    )  # fmt: skip


def test_float16_is_widened_wherever_it_stands() -> None:
    model = half_network()
    x = some_x(model)
    stored = plainly(model, x=x)["y"]
    to_fp32(model)
    onnx.checker.check_model(model, full_check=True)
    assert not any(tensor.data_type == HALF for tensor in tensors(model.graph))
    known = onnx.shape_inference.infer_shapes(model).graph
    assert not any(dtype_of(value) == HALF for value in (*known.input, *known.value_info, *known.output))
    # The one that makes floats of whole numbers has still something to do.
    assert [one.input[0] for one in model.graph.node if one.op_type == "Cast"] == ["ones"]
    got = plainly(model, x=x)["y"]
    np.testing.assert_allclose(got, stored, rtol=2e-3, atol=2e-3)
    weight = numpy_helper.to_array(next(one for one in model.graph.initializer if one.name == "w"))
    np.testing.assert_array_equal(weight, RNG(3).normal(0, 0.3, (4, 4, 1, 1)).astype(np.float16))


def test_a_file_of_both_is_float32_through_and_through(tmp_path: Path) -> None:
    """INT8 with the rest in float16, as a detector is deployed: inputs, outputs and the numbers between."""
    quantized = onnx.load(quantized_detector(tmp_path / "int8.onnx", 19))
    path = tmp_path / "both.onnx"
    onnx.save(to_fp16(quantized), path)
    model = onnx.load_model_from_string(float32_graph(path))
    assert not operators(model) & {Q, DQ, "Cast"}
    strip_qdq(quantized)
    images = RNG(4).random((1, 3, 64, 64), np.float32)
    got, wanted = plainly(model, images=images), plainly(quantized, images=images)
    assert float32_graph(path) == float32_graph(path)
    for name in ("boxes", "scores"):
        assert got[name].dtype == np.float32
        np.testing.assert_allclose(got[name], wanted[name], rtol=2e-3)
    stored = plainly(path, images=images)
    assert 0 < np.abs(stored["scores"] - got["scores"]).max() < 0.05


def test_a_float16_input_is_taken_in_float32(tmp_path: Path) -> None:
    """For a GPU's numbers it is rounded first, and so is what each layer gives; for the CPU nothing is."""
    bias = np.float16([1024])
    constants = {"w": np.ones((1, 1, 1, 1), np.float16), "b": bias, "back": -bias}
    nodes = [node("Conv", "x w b", "c"), node("Conv", "c w back", "y")]
    model = network(nodes, constants, dtype=HALF, c=1)
    onnx.save(model, tmp_path / "half.onnx")
    x = np.linspace(0.1, 0.9, 36, dtype=np.float32).reshape(1, 1, 6, 6)
    onnx.save(onnx.load_model_from_string(float32_graph(tmp_path / "half.onnx")), tmp_path / "cpu.onnx")
    onnx.save(onnx.load_model_from_string(emulated_graph(tmp_path / "half.onnx")), tmp_path / "gpu.onnx")
    np.testing.assert_allclose(plainly(tmp_path / "cpu.onnx", x=x)["y"], x, atol=2e-4)
    np.testing.assert_array_equal(plainly(tmp_path / "gpu.onnx", x=x)["y"], np.rint(x))
    nodes = [node("Sub", "x near", "y")]
    onnx.save(network(nodes, {"near": np.float16([0.5])}, dtype=HALF, c=1), tmp_path / "half.onnx")
    onnx.save(onnx.load_model_from_string(emulated_graph(tmp_path / "half.onnx")), tmp_path / "gpu.onnx")
    wanted = x.astype(np.float16) - np.float16(0.5)
    np.testing.assert_array_equal(plainly(tmp_path / "gpu.onnx", x=x)["y"], wanted)


def test_an_encoder_in_float16(tmp_path: Path) -> None:
    path = encoder(tmp_path / "encoder.onnx")
    image = RNG(5).normal(0, 1, (1, 3, 64, 64)).astype(np.float32)
    wanted = plainly(path, image=image)["image_embeddings"]
    onnx.save(to_fp16(onnx.load(path)), path)
    model = onnx.load_model_from_string(float32_graph(path))
    assert operators(model) <= {"Conv", "Identity"}
    got = plainly(model, image=image)["image_embeddings"]
    np.testing.assert_allclose(got, wanted, atol=2e-3 * np.abs(wanted).max())


def test_constants_that_are_nodes(tmp_path: Path) -> None:
    """As some exporters write scales and INT8 weights."""
    values = {"n": np.full((3, 3, 1, 1), 5, np.int8), "s": np.float32(0.1), "z": np.int8(0)}
    nodes = [helper.make_node("Constant", [], [k], value=numpy_helper.from_array(v)) for k, v in values.items()]
    nodes += [node(DQ, "n s z", "w"), node("Conv", "image w", "y")]
    path = save(tmp_path / "c.onnx", {"image": (1, 3, 4, 4)}, {"y": (1, 3, 4, 4)}, nodes, {})
    model = onnx.load_model_from_string(float32_graph(path))
    assert operators(model) == {"Conv"}
    np.testing.assert_allclose(numpy_helper.to_array(model.graph.initializer[0]), 0.5)
