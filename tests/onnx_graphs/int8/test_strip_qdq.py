"""Q/DQ nodes stripped: the network computes the same in float, but for the rounding."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from nanoseg.onnx_graphs.fp16.to_fp32 import to_fp32
from nanoseg.onnx_graphs.int8.strip_qdq import strip_qdq
from tests.helpers.onnx_run import run_unfused, skip_unless_float16_is_exact
from tests.helpers.qdq_graphs import DQ, RNG, SIDE, Q, network, node, operators, some_x
from tests.helpers.tiny_networks import FLOAT, HALF

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
def test_strip_qdq_weights_equal_onnx_runtimes(
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
    extended = onnx.ModelProto()
    extended.CopyFrom(model)
    extended.graph.output.append(helper.make_tensor_value_info("w", dtype, None))
    wanted = run_unfused(extended, x=some_x(model))["w"]
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
def test_strip_qdq_activations_still_saturate(
    kind: type | None, zero: int | None, low: int, high: int, scale_type: type
) -> None:
    """Values beyond the range of the pair are still clipped."""
    skip_unless_float16_is_exact(scale_type)
    scale = scale_type(0.02)
    constants = {"s": scale, **({} if kind is None else {"z": kind(zero)})}
    pair = "s" if kind is None else "s z"
    nodes = [node(Q, f"x {pair}", "q"), node(DQ, f"q {pair}", "d"), node("Neg", "d", "y")]
    model = network(nodes, constants, dtype=HALF if scale_type is np.float16 else FLOAT)
    x = np.linspace(-8, 8, 144, dtype=scale_type).reshape(1, 4, 6, 6)
    stored = run_unfused(model, x=x)["y"]
    to_fp32(model)
    strip_qdq(model)
    assert operators(model) == {"Clip", "Neg"}
    got = run_unfused(model, x=x.astype(np.float32))["y"]
    assert np.abs(got - stored).max() <= scale * 0.51 + (0.004 if scale_type is np.float16 else 0)
    wanted = x.astype(np.float64).clip(low * float(scale), high * float(scale))
    np.testing.assert_allclose(got, -wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "zero", "scale", "clipped"),
    [
        (np.int8, 0, 0.5, False),
        (np.int8, 3, 0.5, False),
        (np.int8, -128, 0.25, True),  # a Relu may have been left out before it
        (np.uint8, 0, 0.25, True),
        (np.int8, 0, 1.0, False),  # it ends at the limit
        (np.int8, 0, 1.0625, True),
    ],
)
def test_strip_qdq_clips_only_from_zero_and_beyond_a_limit(kind: type, zero: int, scale: float, clipped: bool) -> None:
    nodes = [node(Q, "x s z", "q"), node(DQ, "q s z", "d"), node("Neg", "d", "y")]
    model = network(nodes, {"s": np.float32(scale), "z": kind(zero)})
    strip_qdq(model, clip_beyond=127.0)
    assert operators(model) == ({"Clip", "Neg"} if clipped else {"Neg"})
    x = np.linspace(-900, 900, 144, dtype=np.float32).reshape(1, 4, 6, 6)
    if not clipped:
        np.testing.assert_array_equal(run_unfused(model, x=x)["y"], -x)


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
def test_strip_qdq_keeps_other_nodes(case: str) -> None:
    model = KEPT[case]()
    x = some_x(model)
    stored = run_unfused(model, x=x)["y"]
    strip_qdq(model)
    assert {Q, DQ} <= operators(model)
    np.testing.assert_array_equal(run_unfused(model, x=x)["y"], stored)


def test_strip_qdq_of_a_shared_pair_and_output() -> None:
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
    got, wanted = run_unfused(model, x=x), run_unfused(plain, x=x)
    np.testing.assert_array_equal(got["y"], wanted["y"])
    np.testing.assert_array_equal(got["d"], wanted["r"])
