"""Figures of engines, held against benchmarks/engine_budget.json."""

import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

import engine_budget
from engine_budget import BUDGETS, FULL_SIZE, box_shapes, exceeded
from nanoseg.backends.tensorrt.build.layer_list import Budget
from nanoseg.bundle import EMBEDDED_BUNDLE
from nanoseg.processing.geometry import Geometry


def test_exceeded_names_the_layers_that_grew():
    now = Budget(10, 104.0, 5.0, 1.0, {"Tran": 60.0, "Fc": 34.0, "New": 10.0}, {}, 1.0, 1.0)
    budget = {"kernels": 10, "traffic_mb": 100.0, "activation_mb": 5.0, "weights_mb": 1.0}
    budget["layers_mb"] = {"Tran": 60.0, "Fc": 40.0}
    assert exceeded("segment 8", now, budget) == [
        "segment 8: traffic_mb 104, 4.0% above its budget of 100; New by 10.0 MB"
    ]
    assert exceeded("segment 8", now, budget | {"traffic_mb": 101.0}) == []
    assert "weights_mb 1, above its budget of 0" in exceeded("segment 8", now, budget | {"weights_mb": 0.0})[-1]
    assert exceeded("segment 9", now, None) == ["segment 9: has no budget; --update writes one"]


@pytest.mark.slow
@pytest.mark.parametrize(("flags", "part"), [([], EMBEDDED_BUNDLE), (["--full-size"], FULL_SIZE)])
def test_engines_are_within_their_budgets(flags, part, monkeypatch, capsys):
    rtx = pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX, which builds without a GPU, is not installed")
    monkeypatch.setattr(sys, "argv", ["engine_budget.py", *flags])
    assert engine_budget.main() == 0, capsys.readouterr().out
    if json.loads(BUDGETS.read_text())[part]["tensorrt_rtx"] != rtx.__version__:
        pytest.skip("the budgets are of another TensorRT for RTX; benchmarks/engine_budget.py --update makes new ones")


def test_an_update_writes_one_part_of_the_file(monkeypatch, tmp_path):
    file = tmp_path / "budgets.json"
    file.write_text(json.dumps({FULL_SIZE: {"tensorrt_rtx": "1", "engines": {}}}))
    now = Budget(10, 104.0, 5.0, 1.0, {"Tran": 60.0}, {"fp16": 1.5}, 1.0, 1.0)
    monkeypatch.setattr(engine_budget, "BUDGETS", file)
    monkeypatch.setattr(engine_budget, "find_builder", lambda _: SimpleNamespace(api=SimpleNamespace(__version__="2")))
    monkeypatch.setattr(engine_budget, "measure", lambda *_: now)
    monkeypatch.setattr(sys, "argv", ["engine_budget.py", "--update"])
    assert engine_budget.main() == 0
    written = json.loads(file.read_text())
    assert written[FULL_SIZE] == {"tensorrt_rtx": "1", "engines": {}}
    assert written[EMBEDDED_BUNDLE]["engines"]["segment_boxes 8"]["gmacs"] == {"fp16": 1.5}
    monkeypatch.setattr(sys, "argv", ["engine_budget.py"])
    assert engine_budget.main() == 0
    monkeypatch.setattr(engine_budget, "measure", lambda *_: replace(now, traffic_mb=108.0))
    assert engine_budget.main() == 1


def test_boxes_are_filled_up_with_tiles_as_in_the_pipeline():
    geometry = Geometry.of((720, 1280), 640, 636, 1024)
    assert box_shapes(4, geometry)["tile_tokens"] == (4 * 10, 32)  # each has 8 tiles


@pytest.mark.parametrize(("engine", "gmacs"), [("detect", 15.9), ("detect fp16", 15.9), ("embed", 43.6)])
def test_multiply_adds_of_full_size_networks(engine, gmacs):
    """As fvcore counts those of YOLO-NAS S at 640 and of NanoSAM's ResNet18 at 1024."""
    found = json.loads(BUDGETS.read_text())[FULL_SIZE]["engines"][engine]["gmacs"]
    assert sum(found.values()) == pytest.approx(gmacs, rel=0.005)
