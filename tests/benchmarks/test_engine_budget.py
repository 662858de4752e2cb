"""Figures of engines from layer lists, held against benchmarks/engine_budget.json."""

import json
import sys

import pytest

import engine_budget
from engine_budget import BUDGETS, Budget, exceeded, read_layers

STRIDED = "Strides: [60000,600,3,1], StrideOrder: [3,2,1,0], "


def a_tensor(dims, dtype, strides=""):
    return f"{{ Name: t, Dimensions: [{dims}], {strides}Datatype: {dtype}, Format: (Linear) Row major linear format }}"


def a_layer(name, kind, *tensors):
    return f"Name: {name}, LayerType: {kind}, Inputs: [ {', '.join(tensors)}], Constants: [], Outputs: []"


FRAME, HALVES = a_tensor("1,100,200,3", "UInt8", STRIDED), a_tensor("1,3,100,200", "Half")
LISTED = "\n".join(
    [
        "Layers:",
        a_layer("[ShapeHostToDeviceCopy 0]", "ShapeHostToDevice", a_tensor("1", "Int64")),
        a_layer("__myl_CastTran_myl1_1", "kgen", FRAME, HALVES),
        a_layer("__myl_CastTran_myl7_2", "kgen", HALVES, a_tensor("", "Float")),
        a_layer("node_conv", "gemm", HALVES),
        f"I/O Tensors: {FRAME}",
    ]
)


def test_layers_are_counted_without_those_of_the_host():
    budget = read_layers(["Total Activation Memory: 1234567 bytes", LISTED, "Total Weights Memory: 70000 bytes"])
    assert (budget.kernels, budget.activation_mb, budget.weights_mb) == (3, 1.23, 0.07)
    assert budget.traffic_mb == 0.42  # 60,000 bytes, and three times 120,000
    assert budget.layers_mb == {"CastTran": 0.3, "node_conv": 0.12}


def test_exceeded_names_the_layers_that_grew():
    now = Budget(10, 104.0, 5.0, 1.0, {"Tran": 60.0, "Fc": 34.0, "New": 10.0})
    budget = {"kernels": 10, "traffic_mb": 100.0, "activation_mb": 5.0, "weights_mb": 1.0}
    budget["layers_mb"] = {"Tran": 60.0, "Fc": 40.0}
    assert exceeded("segment 8", now, budget) == [
        "segment 8: traffic_mb 104, 4.0% above its budget of 100; New by 10.0 MB"
    ]
    assert exceeded("segment 8", now, budget | {"traffic_mb": 101.0}) == []
    assert "weights_mb 1, above its budget of 0" in exceeded("segment 8", now, budget | {"weights_mb": 0.0})[-1]


@pytest.mark.slow
def test_engines_of_the_embedded_bundle_are_within_their_budgets(monkeypatch, capsys):
    rtx = pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX, which builds without a GPU, is not installed")
    monkeypatch.setattr(sys, "argv", ["engine_budget.py"])
    assert engine_budget.main() == 0, capsys.readouterr().out
    if json.loads(BUDGETS.read_text())["tensorrt_rtx"] != rtx.__version__:
        pytest.skip("the budgets are of another TensorRT for RTX; benchmarks/engine_budget.py --update makes new ones")
