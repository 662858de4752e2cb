"""`nanoseg bench`, `compare` and `verify`: exit codes, what is printed, and the files."""

import json
import re

import pytest

import nanoseg.commands.bench.run as command
from nanoseg.benchmark.certificate import certify
from nanoseg.benchmark.compare import Comparison, Row
from nanoseg.commands.bench.page import comparison_page
from nanoseg.utils.html_page import read_page_data
from nanoseg.utils.names import encode_json
from tests.benchmark.reports import some_report

REASON = "throttled: cooling device cpu-throttle-alert (cooling_device1) was active"


@pytest.fixture
def given(monkeypatch):
    """What is measured."""

    def give(report):
        options = []
        monkeypatch.setattr(command, "run_bench", lambda wanted, **_: options.append(wanted) or report)
        return options

    return give


@pytest.fixture
def file(tmp_path):
    """Write a report to a file."""

    def write(name, report):
        (tmp_path / name).write_bytes(encode_json(certify(report)))
        return tmp_path / name

    return write


def test_bench_prints_and_writes(call, given, tmp_path):
    report = some_report(1, notes=["clocks not locked"])
    options = given(report)
    code, out, err = call("bench", "--objects", "1,4,1", "--frame", "1280x720", "--out", tmp_path / "a" / "b")
    assert code == 0
    assert (options[0].objects, options[0].sizes_wh, options[0].effort.queries) == ((1, 4), ((1280, 720),), 1024)
    assert not options[0].quick
    for words, quick in (("--queries 24", True), ("--quick", True), ("--quick --queries 1024", False)):
        call("bench", *words.split())
        assert options[-1].quick is quick
    assert re.match(r"parts 3 on Orin Nano: tensorrt, Orin\n  valid +yes\n", out)
    assert re.search(r"640x480 +4 +call +[\d.]+ +[\d.]+", out)
    assert "mAP50-95 0.810, mIoU 0.860 on test lines, by the bundle" in out
    assert "mean 7.20 W, idle 4.00 W: board, rail VDD_IN" in out
    assert "note: clocks not locked\n" in out
    folder = tmp_path / "a" / "b"
    assert err == f"nanoseg: written: {folder / 'bench.json'}, {folder / 'bench.html'}\n"
    content = json.loads((folder / "bench.json").read_text())
    page = (folder / "bench.html").read_text()
    assert read_page_data(page) == content
    assert page.count("<svg") == 3
    assert "Valid: no throttling seen" in page
    assert call("bench", "verify", folder / "bench.json")[0] == 0


def test_bench_not_valid_is_refused_and_marked(call, given, tmp_path):
    given(some_report(1, valid=False, reasons=[REASON, "unstable: something"]))
    code, out, err = call("bench", "--out", tmp_path)
    assert code == 5
    assert f"NOT VALID: {REASON}\n" in out
    assert err.endswith(f"not a valid run: {REASON}, and 1 further reason; --anyway takes it all the same\n")
    assert json.loads((tmp_path / "bench.json").read_text())["valid"] is False
    assert f"Not valid: {REASON}" in (tmp_path / "bench.html").read_text()
    assert call("bench", "--anyway", "--out", tmp_path)[0] == 0
    assert json.loads((tmp_path / "bench.json").read_text())["valid"] is False
    code, out, _ = call("bench", "verify", tmp_path / "bench.json")
    assert code == 5
    assert f"valid   NO: {REASON}; unstable: something" in out


def test_bench_json_is_the_certificate(call, given):
    report = some_report(1)
    given(report)
    code, out, err = call("bench", "--quick", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == certify(report)


def test_bench_without_matplotlib_has_no_page(call, given, tmp_path, monkeypatch):
    given(some_report(1))
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    code, _, err = call("bench", "--out", tmp_path)
    assert code == 0
    assert 'no page: matplotlib is not installed: pip install "nanoseg[bench]"' in err
    assert [path.name for path in tmp_path.iterdir()] == ["bench.json"]


def test_bench_page_has_the_estimate_as_estimated(call, given, tmp_path):
    report = some_report(1)
    report.configurations[0].estimate_ms = {"detect": 12.5, "embed": 20.0}
    given(report)
    code, out, _ = call("bench", "--out", tmp_path)
    assert code == 0
    assert re.search(r"estimated +1 obj. +- +12.50 +20.00 +- +- +-", out)
    page = (tmp_path / "bench.html").read_text()
    assert ">estimated</text>" in page
    assert "Estimated, not measured, are the hatched bars" in page


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--objects 0", "--objects: wanted numbers from 1 to 64, separated by commas, got '0'"),
        ("--objects 1,,4", "--objects: wanted numbers from 1 to 64"),
        ("--objects 65", "--objects: wanted numbers from 1 to 64"),
        (
            f"--objects {'9' * 5000}",
            f"--objects: wanted numbers from 1 to 64, separated by commas, got '{'9' * 40}...'",
        ),
        (f"--frame 640x{'9' * 5000}", "--frame: wanted WxH, 32x32 to 8192x8192, got '640x999"),
        ("compare a.json b.json --objects 4", "compare: --objects is for --interleaved; reports have their own"),
        ("--frame 640", "--frame: wanted WxH, 32x32 to 8192x8192, got '640'"),
        ("--frame 16x480", "--frame: wanted WxH"),
        ("--queries 3", "--queries"),
        ("--backend none", "backend: wanted one of"),
        ("--quick verify a.json", "nanoseg bench verify: its options come behind it, got --quick before"),
        ("--out /dev/null/a", "/dev/null/a: cannot be written"),
    ],
)
def test_bench_bad_options(call, words, message):
    code, out, err = call("bench", *words.split())
    assert (code, out) == (2, "")
    assert message in err


def test_verify_shows_a_change(call, file):
    path = file("bench.json", some_report(1))
    assert call("bench", "verify", path)[0] == 0
    path.write_text(path.read_text().replace('"15W"', '"MAXN"'))
    code, out, _ = call("bench", "verify", path)
    assert code == 2
    assert "intact  NO: its content was changed" in out
    assert "valid   not known, as the file was changed\n" in out
    code, out, _ = call("bench", "verify", path, "--json")
    assert code == 2
    assert json.loads(out)["intact"] is False
    assert json.loads(out)["valid"] is False


def test_verify_of_a_report_without_names(call, file):
    """Written by another program, with a digest that is right."""
    report = some_report(1)
    report.environment, report.bundle = {}, {}
    code, out, _ = call("bench", "verify", file("a.json", report))
    assert code == 0
    assert "a bundle without a name on a machine without a name: tensorrt, Orin" in out


def test_verify_of_another_file(call, tmp_path):
    (tmp_path / "a.json").write_text("{}")
    code, out, err = call("bench", "verify", tmp_path / "a.json")
    assert (code, out) == (2, "")
    assert "wanted a report of nanoseg bench, got 'another file'" in err


def test_compare_has_words_only_where_two_differ(call, file, tmp_path):
    first = file("a.json", some_report(1))
    slower = some_report(2, environment={**some_report(2).environment, "power_mode": "MAXN_SUPER"})
    for each in slower.configurations:
        if each.mode == "call":
            each.stages["detect"] = type(each.stages["detect"]).of(1.3 * each.stages["detect"].values_ms())
    second = file("b.json", slower)
    code, out, err = call("bench", "compare", first, second, "--out", tmp_path / "page")
    assert code == 0
    assert out.startswith("differs: power_mode: 15W against MAXN_SUPER\n")
    lines = [line for line in out.splitlines() if line.lstrip().startswith("640x480")]
    assert {"slower" in line for line in lines if " detect " in line} == {True}
    assert not any("slower" in line or "faster" in line for line in lines if " embed " in line)
    assert "equal" not in out
    assert out.endswith("whole frames: no difference beyond the noise; stages: detect slower\n")
    page = (tmp_path / "page" / "compare.html").read_text()
    assert read_page_data(page)["rows"][1]["word"] == "slower"
    assert "medians and their ratio; the intervals hold for all rows together" in page
    assert err == f"nanoseg: written: {tmp_path / 'page' / 'compare.html'}\n"
    code, out, _ = call("bench", "compare", first, first, "--json")
    assert code == 0
    assert {row["word"] for row in json.loads(out)["rows"]} == {"equal"}


def test_compare_refuses_changed_files(call, file):
    path = file("a.json", some_report(1))
    path.write_text(path.read_text().replace('"15W"', '"MAXN"'))
    code, out, err = call("bench", "compare", path, path)
    assert (code, out) == (2, "")
    assert "its content was changed" in err


def test_page_of_turns_says_whose_ratio_it_is():
    row = Row("640x480, 1 object, call", "detect", 72.3, 48.9, 0.94, 0.56, 1.58, "equal")
    page = comparison_page(Comparison(0.95, [row], [], interleaved=True), "one", "other")
    assert "medians, and the mean ratio of pairs, not theirs" in page


@pytest.mark.slow
def test_compare_interleaved_runs_bundles_in_turns(call):
    words = ["bench", "compare", "--interleaved", "parts", "parts", "--objects", "1", "--queries", "24", "--json"]
    code, out, _ = call(*words, "--backend", "onnxruntime", "--frame", "320x240")
    assert code == 0
    found = json.loads(out)
    assert found["interleaved"]
    assert {row["title"] for row in found["rows"]} == {"320x240, 1 object, call"}
    assert {"detect", "embed", "segment", "end_to_end"} <= {row["stage"] for row in found["rows"]}
