"""`nanoseg estimate` of the embedded bundle: what it prints and writes, and what it refuses."""

import json

import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from nanoseg.benchmark import families
from nanoseg.benchmark.boards import BOARDS
from nanoseg.benchmark.estimate import bundle_work, estimate_work
from nanoseg.benchmark.families import Family
from nanoseg.benchmark.roofline import STAGES
from nanoseg.bundle import EMBEDDED_BUNDLE, open_bundle
from nanoseg.commands.estimate import command
from nanoseg.commands.estimate.report import NO_FIGURE, reaches
from nanoseg.utils.html_page import read_page_data

WORK = bundle_work(open_bundle(EMBEDDED_BUNDLE), 2)


@pytest.fixture(autouse=True)
def _work(monkeypatch):
    """Read the graphs once."""
    monkeypatch.setattr(command, "bundle_work", lambda _bundle, _objects: WORK)


def test_one_board(call):
    code, out, err = call("estimate", "--device", "orin-nano-super", "--objects", 2)
    assert (code, err) == (0, "")
    title, *rows = out.splitlines()
    assert title.startswith("Orin Nano Super 8GB, parts ")
    assert title.endswith("2 objects, 1280x720: estimated; nothing here was measured")
    estimate = estimate_work(WORK, "orin-nano-super")
    for name, ms in estimate.stage_ms().items():
        (row,) = (row for row in rows if row.startswith(f"  {name:8} {ms:.2f} ms ("))
        assert "% from " in row
    assert f"  call    estimated {estimate.call_ms:.2f} ms (" in out
    assert f"  stream  estimated {estimate.stream_ms:.2f} ms (" in out
    assert f"Super 8GB: {NO_FIGURE}" not in out


def test_boards_without_published_figures_say_so(call):
    _, out, _ = call("estimate", "--device", "thor")
    assert f"AGX Thor T5000: {NO_FIGURE}" in out


def test_json_and_the_page_have_all_layers(call, tmp_path):
    pytest.importorskip("matplotlib", reason="needs nanoseg[bench]")
    page = tmp_path / "new" / "page.html"
    code, out, _ = call("estimate", "--device", "agx-orin", "--compare-devices", "--json", "--out", page)
    found = json.loads(out)
    assert (code, found["kind"]) == (0, "estimated")
    assert list(found["devices"]) == list(BOARDS)
    stages = found["devices"]["agx-orin"]["stages"]
    for name in STAGES:
        assert sum(layer["ms"] for layer in stages[name]["layers"]) == pytest.approx(stages[name]["ms"])
        assert len(stages[name]["layers"]) == stages[name]["kernels"]
    text = page.read_text()
    assert read_page_data(text) == found
    assert text.count("<svg") == len(STAGES) + 2
    assert "Estimated; nothing here was measured." in text


def test_compared_boards(call):
    _, out, _ = call("estimate", "--compare-devices")
    rows = out.splitlines()
    assert len(rows) == 2 + len(BOARDS)
    assert [row.endswith(NO_FIGURE) for row in rows[2:]] == [name in ("agx-orin-32", "thor") for name in BOARDS]


@pytest.mark.parametrize(("stream_ms", "answer"), [(10, "yes"), (30, "perhaps"), (36, "perhaps"), (50, "no")])
def test_a_rate_is_reached_where_the_error_leaves_no_doubt(stream_ms, answer):
    """Of an error of 20 % a time of 30 ms is one of 25 to 37.5 ms."""
    estimate = estimate_work(WORK, "orin-nano")
    vars(estimate).update(stream_ms=stream_ms, error=0.2)
    assert reaches(estimate, 30) == answer


def test_a_family_that_is_too_wrong_is_not_printed(call, monkeypatch, tmp_path):
    pytest.importorskip("matplotlib", reason="needs nanoseg[bench]")
    fit = families.read_fit()
    monkeypatch.setitem(fit.families, "nanosam", Family(3, 0.4, 0.5))
    page = tmp_path / "page.html"
    code, out, _ = call("estimate", "--device", "orin-nx", "--compare-devices", "--out", page)
    assert code == 0
    embed = next(row for row in out.splitlines() if row.startswith("  embed"))
    assert "not estimated" in embed
    assert embed.endswith("not printed: estimates of nanosam are off by 40%, over 35%")
    assert "  call    not estimated: " in out
    assert "Conv_319" not in out  # no layer of it
    assert page.read_text().count("<svg") == 2  # prepare and detect


def test_layer_lists_are_compared(call, monkeypatch):
    monkeypatch.setattr(command, "listed_work", lambda _bundle, work: work)
    _, out, _ = call("estimate", "--device", "orin-nano", "--layer-list")
    listed = out[out.index("layer lists of TensorRT for RTX") :].splitlines()[1:]
    assert len(listed) == len(STAGES)
    assert all("(1.00 of the graph's)" in row for row in listed)


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        ((), 2, "--device: wanted orin-nano, "),
        (("--device", "xavier"), 2, "device: wanted orin-nano, "),
        (("--device", "thor", "--objects", "-1"), 2, "Invalid value for '--objects'"),
        (("--device", "thor", "--out", "."), 2, ".: "),
        (("--compare-devices", "--layer-list"), 2, "--layer-list: wanted --device, "),
        (("--device", "thor", "--bundle", "no-such"), 4, "no-such: no such bundle"),
    ],
)
def test_what_is_wrong_is_one_line(call, flags, code, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found, out, err = call("estimate", *flags)
    assert (found, out) == (code, "")
    assert err.startswith(f"nanoseg: error: {message}")
    assert err.count("\n") == 1
