"""Deployment graphs in float32: the outputs of the file without its rounding, and emulated with it."""

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from nanoseg.onnx_graphs.deploy.float32 import emulated_graph, float32_graph
from nanoseg.onnx_graphs.fp16.to_fp16 import to_fp16
from nanoseg.onnx_graphs.int8.strip_qdq import strip_qdq
from tests.helpers.onnx_run import run_unfused
from tests.helpers.qdq_graphs import DQ, RNG, Q, network, node, operators
from tests.helpers.tiny_detectors import quantized_detector
from tests.helpers.tiny_networks import HALF, encoder, save


def test_float32_graph_of_int8_and_float16(tmp_path: Path) -> None:
    """INT8 with the rest in float16, as a detector is deployed: inputs, outputs and the numbers between."""
    quantized = onnx.load(quantized_detector(tmp_path / "int8.onnx", 19))
    path = tmp_path / "both.onnx"
    onnx.save(to_fp16(quantized), path)
    model = onnx.load_model_from_string(float32_graph(path))
    assert not operators(model) & {Q, DQ, "Cast"}
    strip_qdq(quantized)
    images = RNG(4).random((1, 3, 64, 64), np.float32)
    got, wanted = run_unfused(model, images=images), run_unfused(quantized, images=images)
    assert float32_graph(path) == float32_graph(path)
    for name in ("boxes", "scores"):
        assert got[name].dtype == np.float32
        np.testing.assert_allclose(got[name], wanted[name], rtol=2e-3)
    stored = run_unfused(path, images=images)
    assert 0 < np.abs(stored["scores"] - got["scores"]).max() < 0.05


def test_float32_and_emulated_graph_take_float32_inputs(tmp_path: Path) -> None:
    """For a GPU's numbers it is rounded first, and so is what each layer gives; for the CPU nothing is."""
    bias = np.float16([1024])
    constants = {"w": np.ones((1, 1, 1, 1), np.float16), "b": bias, "back": -bias}
    nodes = [node("Conv", "x w b", "c"), node("Conv", "c w back", "y")]
    model = network(nodes, constants, dtype=HALF, c=1)
    onnx.save(model, tmp_path / "half.onnx")
    x = np.linspace(0.1, 0.9, 36, dtype=np.float32).reshape(1, 1, 6, 6)
    onnx.save(onnx.load_model_from_string(float32_graph(tmp_path / "half.onnx")), tmp_path / "cpu.onnx")
    onnx.save(onnx.load_model_from_string(emulated_graph(tmp_path / "half.onnx")), tmp_path / "gpu.onnx")
    np.testing.assert_allclose(run_unfused(tmp_path / "cpu.onnx", x=x)["y"], x, atol=2e-4)
    np.testing.assert_array_equal(run_unfused(tmp_path / "gpu.onnx", x=x)["y"], np.rint(x))
    nodes = [node("Sub", "x near", "y")]
    onnx.save(network(nodes, {"near": np.float16([0.5])}, dtype=HALF, c=1), tmp_path / "half.onnx")
    onnx.save(onnx.load_model_from_string(emulated_graph(tmp_path / "half.onnx")), tmp_path / "gpu.onnx")
    wanted = x.astype(np.float16) - np.float16(0.5)
    np.testing.assert_array_equal(run_unfused(tmp_path / "gpu.onnx", x=x)["y"], wanted)


def test_float32_graph_of_a_float16_encoder(tmp_path: Path) -> None:
    path = encoder(tmp_path / "encoder.onnx")
    image = RNG(5).normal(0, 1, (1, 3, 64, 64)).astype(np.float32)
    wanted = run_unfused(path, image=image)["image_embeddings"]
    onnx.save(to_fp16(onnx.load(path)), path)
    model = onnx.load_model_from_string(float32_graph(path))
    assert operators(model) <= {"Conv", "Identity"}
    got = run_unfused(model, image=image)["image_embeddings"]
    np.testing.assert_allclose(got, wanted, atol=2e-3 * np.abs(wanted).max())


def test_float32_graph_of_constant_nodes(tmp_path: Path) -> None:
    """As some exporters write scales and INT8 weights."""
    values = {"n": np.full((3, 3, 1, 1), 5, np.int8), "s": np.float32(0.1), "z": np.int8(0)}
    nodes = [helper.make_node("Constant", [], [k], value=numpy_helper.from_array(v)) for k, v in values.items()]
    nodes += [node(DQ, "n s z", "w"), node("Conv", "image w", "y")]
    path = save(tmp_path / "c.onnx", {"image": (1, 3, 4, 4)}, {"y": (1, 3, 4, 4)}, nodes, {})
    model = onnx.load_model_from_string(float32_graph(path))
    assert operators(model) == {"Conv"}
    np.testing.assert_allclose(numpy_helper.to_array(model.graph.initializer[0]), 0.5)
