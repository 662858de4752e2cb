"""INT8 deployment graphs in float16: no Q/DQ, the same inputs and outputs, and the float network's numbers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from nanoseg.onnx_graphs.adapt.detector import load_detector
from nanoseg.onnx_graphs.deploy.detect import detect_graph
from nanoseg.onnx_graphs.deploy.float16 import CLIP_BEYOND, float16_graph
from nanoseg.onnx_graphs.deploy.float32 import emulated_model, float32_model
from nanoseg.onnx_graphs.fp16.to_fp16 import tensor_types, to_fp16
from nanoseg.onnx_graphs.int8.quantize import quantize
from nanoseg.onnx_graphs.model.nodes import QDQ_OPERATORS, box_decode_nodes
from nanoseg.onnx_graphs.model.shapes import dtype_of
from tests.helpers.onnx_run import run_unfused
from tests.helpers.quantized_graphs import ranges_of
from tests.helpers.tiny_residual import pictures, residual_detector

FP32, FP16 = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
THRESHOLDS = {"geometry": np.ones(8, np.float32), "confidence": np.float32(0.2), "iou": np.float32(0.7)}


def composed(path: Path, rest: str, scale: float = 1.0) -> Path:
    """Write detect.onnx of the residual detector in INT8, its rest in a precision; `scale` is of all ranges."""
    model = residual_detector()
    onnx.save(model, path)
    ranges = {name: scale * amax for name, amax in ranges_of(model).items()}
    int8 = quantize(model, ranges, fp16_scales=rest == "fp16")
    if rest == "fp16":
        int8 = to_fp16(int8, box_decode_nodes(int8.graph.node))
    onnx.save(detect_graph(replace(load_detector(path), model=int8), 20), path)
    return path


def declared(model: onnx.ModelProto) -> list[tuple[str, int | None]]:
    return [(value.name, dtype_of(value)) for value in (*model.graph.input, *model.graph.output)]


@pytest.mark.parametrize("rest", ["fp32", "fp16"])
def test_float16_graph_is_float16_but_for_the_box_decode(tmp_path: Path, rest: str) -> None:
    path = composed(tmp_path / "detect.onnx", rest)
    before, model = onnx.load(path), onnx.load_model_from_string(float16_graph(path))
    onnx.checker.check_model(model, full_check=True)
    assert dict(declared(before))["images"] == (FP16 if rest == "fp16" else FP32)
    assert declared(model) == declared(before)
    operators = {node.op_type for node in model.graph.node}
    assert not operators & (QDQ_OPERATORS | {"Clip"})
    types = tensor_types(model)
    for node in model.graph.node:
        if node.op_type in ("Conv", "ConvTranspose"):
            assert {types[name] for name in (*node.input, *node.output)} == {FP16}
    decode = box_decode_nodes(model.graph.node)
    made = {name: node for node in model.graph.node for name in node.output}
    assert all(types[name] != FP16 for name in decode if made[name].op_type != "Cast")
    assert float16_graph(path) == float16_graph(path)


@pytest.mark.parametrize("rest", ["fp32", "fp16"])
def test_float16_graph_computes_the_float_network(tmp_path: Path, rest: str) -> None:
    """Its numbers are those of the INT8 weights without rounding between layers, and nothing is clipped."""
    path = composed(tmp_path / "detect.onnx", rest, scale=0.5)
    wanted_model, model = onnx.load(path), onnx.load_model_from_string(float16_graph(path))
    inputs = {"images": pictures(2)[1], **THRESHOLDS}
    got = run_unfused(emulated_model(model), **inputs)
    float32_model(wanted_model)
    clipped = run_unfused(wanted_model, **inputs)
    for node in wanted_model.graph.node:
        if node.op_type == "Clip":
            node.op_type = "Identity"
            del node.input[1:]
    wanted = run_unfused(wanted_model, **inputs)
    np.testing.assert_allclose(got["scores"], wanted["scores"], atol=2e-3)
    assert np.abs(clipped["scores"] - wanted["scores"]).max() > 0.01


def test_float16_graph_clips_where_float16_ends(tmp_path: Path) -> None:
    """A tensor that may reach infinity stays within its range."""
    peak = max(ranges_of(residual_detector()).values())
    path = composed(tmp_path / "detect.onnx", "fp32", scale=1.01 * CLIP_BEYOND / peak)
    nodes = onnx.load_model_from_string(float16_graph(path)).graph.node
    assert {node.input[0].removesuffix("/float16") for node in nodes if node.op_type == "Clip"} == {"r0", "sum"}
