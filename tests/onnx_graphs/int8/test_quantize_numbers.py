"""Values of scales and INT8 weights; kept layers do not change by a bit."""

import numpy as np
import pytest

from nanoseg.onnx_graphs.int8.qdq import quantized_weight, scales_of
from nanoseg.onnx_graphs.int8.quantize import quantizable_layers, quantize
from nanoseg.onnx_graphs.model.nodes import node_key
from tests.helpers.onnx_run import run_unfused
from tests.helpers.quantized_graphs import NAMES, GraphIndex, float_weight, ranges_of
from tests.helpers.tiny_residual import pictures, residual_detector


@pytest.mark.parametrize("keep", [["stem"], ["one"], ["two", "head"], NAMES[1:], NAMES])
def test_quantize_kept_layers_read_float_tensors(model, ranges, keep):
    made = GraphIndex(quantize(model, ranges, keep))
    for layer in quantizable_layers(model):
        node = made.by_key(layer.key)
        assert (made.quantized(node.input[0]) is None) == (layer.name in keep)
        if layer.name in keep:
            assert node.input[0] == layer.input
            np.testing.assert_array_equal(made.weights[node.input[1]], float_weight(model, node.input[1]))
    # A pair that no layer needs is not there; one that the other layers need is read by the Add all the same.
    assert (made.quantized(made.by_key("sum").input[1]) == "r0") == ("one" not in keep)


def test_quantize_pair_with_one_kept_reader(ranges):
    model = residual_detector()
    model.graph.node[5].input[0] = "r0"  # two reads it beside one
    model.graph.node[7].input[1] = "sum"
    made = GraphIndex(quantize(model, ranges, ["two"]))
    assert made.by_key("c2").input[0] == "r0"
    assert made.quantized(made.by_key("c1").input[0]) == made.quantized(made.by_key("sum").input[1]) == "r0"


def test_quantize_with_all_kept_equals_the_network(model, ranges):
    made = quantize(model, ranges, NAMES)
    picture = pictures(1)[0]
    want, got = run_unfused(model, images=picture), run_unfused(made, images=picture)
    for name, value in want.items():
        np.testing.assert_array_equal(got[name], value)
    assert not any(node.op_type.endswith("Linear") for node in made.graph.node)


@pytest.mark.parametrize("half", [False, True])
def test_quantize_weights_are_within_half_a_step(model, ranges, half):
    made = GraphIndex(quantize(model, ranges, fp16_scales=half))
    for layer in quantizable_layers(model):
        weight = float_weight(model, next(n for n in model.graph.node if node_key(n) == layer.key).input[1])
        scale = made.weights[made.by_key(made.by_key(layer.key).input[1]).input[1]].astype(np.float64)
        steps = np.abs(made.weight(layer.key).astype(np.float64) - weight) / scale[:, None, None, None]
        assert 0 < steps.max() <= 0.5 + 1e-5
        if half:
            np.testing.assert_array_equal(scale, scale.astype(np.float16))
    # And the picture's steps are those of its range.
    q = next(node for node in made.nodes if node.op_type == "QuantizeLinear" and node.input[0] == "images")
    assert made.weights[q.input[1]] == pytest.approx(ranges["images"] / 127, rel=1e-3)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_quantize_any_weight_is_within_half_a_step(seed, half):
    rng = np.random.default_rng(seed)
    # From subnormal numbers to the largest that float16 knows, by channel.
    size = np.geomspace(1e-44, 6e4, 24)[:, None, None, None]
    weight = (rng.uniform(-1, 1, (24, 5, 3, 3)) * size).astype(np.float32)
    weight[3] = 0
    weight[5, :, 0] = 0
    steps, scales = quantized_weight(weight, half)
    assert (scales > 0).all()
    assert np.isfinite(scales).all()
    assert np.abs(steps).max() <= 127
    apart = np.abs(steps.astype(np.float64) * scales[:, None, None, None] - weight)
    assert (apart <= (0.5 + 1e-5) * scales[:, None, None, None].astype(np.float64)).all()


def test_quantize_scales():
    assert scales_of(np.array([127, 0, 1e-45])).tolist() == [1, 1, 1]
    half = scales_of(np.array([1e9, 1e-9, 1.0]), fp16_scales=True)
    assert half.tolist() == half.astype(np.float16).tolist()
    assert half[1] > 0
    assert 0 <= half[2] * 127 - 1 < 1e-3


def test_quantize_zero_channels_stay_finite(model):
    weight = float_weight(model, "stem.weight").copy()
    weight[2:4] = 0
    dead = residual_detector(stem_weight=weight, stem_bias=np.full(8, -9, np.float32))
    found = ranges_of(dead)
    assert found["r0"] == 0
    made = quantize(dead, found)
    picture = pictures(1)[0]
    for name, value in run_unfused(made, images=picture).items():
        assert np.isfinite(value).all()
        np.testing.assert_allclose(value, run_unfused(dead, images=picture)[name], atol=0.1)


@pytest.mark.parametrize("half", [False, True])
def test_quantize_outputs_are_close(model, ranges, half):
    picture = pictures(4)[3]
    want, got = (
        run_unfused(model, images=picture),
        run_unfused(quantize(model, ranges, fp16_scales=half), images=picture),
    )
    assert np.abs(got["scores"] - want["scores"]).max() < 0.05
    assert np.abs(got["boxes"] - want["boxes"]).max() < 0.2
    assert np.abs(want["scores"] - want["scores"].mean()).max() > 0.2  # the picture is seen
