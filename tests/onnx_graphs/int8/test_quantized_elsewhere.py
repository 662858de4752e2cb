"""Detectors trained with Q/DQ nodes: adapting them keeps every bit of their outputs."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from nanoseg.onnx_graphs.adapt.detector import load_detector
from nanoseg.onnx_graphs.deploy.compose import precision_of
from nanoseg.onnx_graphs.deploy.detect import detect_graph
from tests.helpers.onnx_run import run_unfused
from tests.helpers.tiny_detectors import quantized_detector
from tests.helpers.tiny_networks import PLAIN_GEOMETRY


@pytest.mark.parametrize("opset", [13, 17, 19, 21])
@pytest.mark.parametrize("names", [("images", "boxes", "scores"), ("input", "913", "904")])
@pytest.mark.parametrize("batch", [1, "batch"])
def test_quantized_elsewhere_keeps_its_outputs(
    opset: int, names: tuple[str, str, str], batch: int | str, tmp_path: Path
) -> None:
    path = quantized_detector(tmp_path / "qat.onnx", opset, *names, batch=batch)
    images = np.random.default_rng(0).random((1, 3, 64, 64), np.float32)
    want = run_unfused(path, **{names[0]: images})
    loaded = load_detector(path)
    got = run_unfused(loaded.model, images=images)
    np.testing.assert_array_equal(got["boxes"], want[names[1]])
    np.testing.assert_array_equal(got["scores"], want[names[2]])
    assert len(np.unique(want[names[2]])) > 20  # the picture is seen
    graph = detect_graph(loaded, 300)
    thresholds = {"confidence": np.array(-1, np.float32), "iou": np.array(1, np.float32)}
    rows = run_unfused(graph, images=images, geometry=PLAIN_GEOMETRY, **thresholds)
    np.testing.assert_array_equal(rows["scores"], -np.sort(-want[names[2]].ravel()))
    anchors = np.argsort(-want[names[2]].ravel(), kind="stable") // 3
    np.testing.assert_array_equal(rows["boxes"], want[names[1]][0, anchors])


def test_quantized_elsewhere_keeps_its_nodes(tmp_path: Path) -> None:
    path = quantized_detector(tmp_path / "qat.onnx", 13)
    graph = detect_graph(load_detector(path), 300)
    assert precision_of(graph) == "int8"
    counts = [
        [node.op_type for node in model.graph.node].count(op)
        for model in (onnx.load(path), graph)
        for op in ("QuantizeLinear", "DequantizeLinear")
    ]
    assert counts == [2, 4, 2, 4]
    per_channel = [
        helper.get_node_attr_value(node, "axis")
        for node in graph.graph.node
        if node.op_type == "DequantizeLinear" and any(a.name == "axis" for a in node.attribute)
    ]
    assert per_channel.count(0) == 2
