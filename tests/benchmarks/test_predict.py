"""Predictions from the figures of engines, and the tables of them in the documentation."""

import json
import sys

import pytest

import predict
import predict_docs

ENGINE = {"kernels": 10, "traffic_mb": 70.0, "gmacs": {"fp16": 1.0}, "inputs_mb": 3.0, "outputs_mb": 4.0}
FULL = {
    **dict.fromkeys(("prepare", "detect", "embed"), ENGINE),
    **{f"segment {count}": {**ENGINE, "traffic_mb": 200.0 * count} for count in (1, 8)},
    **{f"segment_boxes {count}": {**ENGINE, "traffic_mb": 100.0 * count} for count in (1, 8)},
    "detect fp16": {**ENGINE, "kernels": 7},
}


def run(monkeypatch, *flags):
    monkeypatch.setattr(sys, "argv", ["predict.py", *flags])
    return predict.main()


def test_frame_work_takes_the_decoder_of_boxes_where_there_is_one():
    assert predict.frame_work(FULL, 2).stages["segment"].traffic_mb == 200
    without = {name: engine for name, engine in FULL.items() if not name.startswith("segment_boxes")}
    assert predict.frame_work(without, 2).stages["segment"].traffic_mb == 400


def test_frame_work_of_precisions_and_copies():
    found = predict.frame_work(FULL, 1, detector="fp16")
    assert (found.stages["detect"].kernels, found.stages["embed"].kernels) == (7, 10)
    assert (found.upload.traffic_mb, found.handover.traffic_mb, found.download.traffic_mb) == (6, 8, 8)


def test_json_says_that_it_is_predicted_and_sums_up(monkeypatch, capsys):
    assert run(monkeypatch, "--json", "--boxes", "1,9", "--device", "orin-nx") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["kind"] == "predicted"
    for frame in found["devices"]["orin-nx"].values():
        stages = frame["stages"]["prepare"]["ms"] + frame["side_by_side_ms"] + frame["stages"]["segment"]["ms"]
        assert frame["call_ms"] == pytest.approx(stages + frame["copies_ms"])


def test_table_has_all_boards_and_says_that_nothing_was_measured(monkeypatch, capsys):
    assert run(monkeypatch, "--networks", "parts") == 0
    out = capsys.readouterr().out
    assert out.startswith("predicted, ms; nothing here was measured\n")
    assert all(board.name in out for board in predict.BOARDS.values())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--device", "orin"], "predict: device: wanted orin-nano, "),
        (["--boxes", "0"], "predict: --boxes: wanted numbers of objects, got 0"),
        (["--networks", "coco"], "predict: --networks: wanted "),
        (["--networks", "parts", "--decoder", "fp16"], "predict: --decoder: the figures have no engine of it in fp16"),
        (["--budgets", "none.json"], "predict: --budgets: cannot read none.json"),
    ],
)
def test_what_is_wrong_is_one_line(flags, message, monkeypatch, capsys):
    assert run(monkeypatch, *flags) == 2
    err = capsys.readouterr().err
    assert err.startswith(message)
    assert err.count("\n") == 1


def test_documentation_has_the_tables_of_these_figures():
    text = predict_docs.PAGE.read_text(encoding="utf-8")
    assert predict_docs.inserted(text) == text, "benchmarks/predict_docs.py writes them anew"
