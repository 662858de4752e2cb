"""`nanoseg run`: outputs that name one file, classes, datasets, what is drawn, and progress without a terminal."""

import io
import json
import re
import sys

import numpy as np
import pytest

from nanoseg.commands import notes
from nanoseg.utils import terminal

cv2 = pytest.importorskip("cv2")
pytest.importorskip("supervision")
PARTS = "parts://?seed=3&size=64x48&objects=2"


@pytest.mark.parametrize("name", ["out.png", "out.JPG", "new/out.webp", "out.tif"])
def test_run_out_is_one_image(oracle, call, photos, tmp_path, name):
    code, out, err = call("run", photos / "a.png", "--out", tmp_path / name, "--results", tmp_path / "r.jsonl")
    assert (code, err) == (0, "")
    assert out.endswith(f"-> {tmp_path / name}, {tmp_path / 'r.jsonl'}\n")
    assert cv2.imread(str(tmp_path / name)).shape == (48, 64, 3)
    assert json.loads((tmp_path / "r.jsonl").read_bytes())["out"] == str(tmp_path / name)
    assert not list((tmp_path / name).parent.glob("*.part*"))


@pytest.mark.parametrize("name", ["out.mp4", "clip.mov", "out.mkv", "clip.m4v"])
def test_run_out_is_one_video(oracle, call, tmp_path, name):
    code, out, err = call("run", PARTS, "--limit", 3, "--out", tmp_path / name, "--results", tmp_path / "r.jsonl")
    assert (code, err) == (0, "")
    assert out.endswith(f"-> {tmp_path / name}, {tmp_path / 'r.jsonl'}\n")
    capture = cv2.VideoCapture(str(tmp_path / name))
    assert [capture.read()[0] for _ in range(4)] == [True, True, True, False]
    assert "out" not in json.loads((tmp_path / "r.jsonl").read_bytes().splitlines()[0])


@pytest.mark.parametrize(
    ("source", "name", "message"),
    [
        ("a.png", "out.mp4", "wanted a folder or an image"),
        ("a.png", "out.pdf", "wanted a folder or an image"),
        ("a.png", "out.gif", "wanted a folder or an image"),
        ("", "out.png", "the source has 3 images; wanted a folder"),
        ("", "out.mp4", "wanted a folder or an image"),
        (PARTS, "out.png", "wanted a folder or a video"),
        (PARTS, "out.txt", "wanted a folder or a video"),
        ("a.png", "photos/a.png", "would be written over a file that frames are read from"),
    ],
)
def test_run_out_that_does_not_fit(oracle, call, photos, tmp_path, source, name, message):
    before = (photos / "a.png").read_bytes()
    code, out, err = call("run", source if "://" in source else photos / source, "--out", tmp_path / name)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]
    assert (photos / "a.png").read_bytes() == before


@pytest.mark.parametrize("name", ["run.2", "annotated.v1", "2026.11.28", "plain"])
def test_run_out_is_a_folder_by_any_other_name(oracle, call, photos, tmp_path, name):
    results = tmp_path / "r.jsonl"
    assert call("run", photos, "--out", tmp_path / name, "--results", results)[0] == 0
    lines = [json.loads(line)["out"] for line in results.read_bytes().splitlines()]
    assert lines == [str(tmp_path / name / image) for image in ("a.png", "b.jpg", "c.png")]


def test_run_results_as_datasets(oracle, call, photos, tmp_path):
    assert call("run", photos, "--results", tmp_path / "f.json")[0] == 0
    assert len(json.loads((tmp_path / "f.json").read_bytes())["images"]) == 3
    assert call("run", photos, "--results", f"{tmp_path / 'yolo'}/")[0] == 0
    assert call("run", photos, "--results", tmp_path / "yolo")[0] == 0  # it exists now
    assert len(list((tmp_path / "yolo" / "labels").iterdir())) == 3


def test_run_passes_classes(oracle, call, photos):
    assert call("run", photos, "--classes", "gear,nut")[0] == 0
    assert oracle.calls[1]["classes"] == ["gear", "nut"]


@pytest.mark.parametrize("bundle_classes", [["nothing"], ["hex nit"]])
def test_run_unknown_class_is_one_line(call, photos, bundle_classes):
    code, out, err = call("run", photos, "--classes", ",".join(bundle_classes))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "classes: no such class" in err


def test_run_draws_what_is_wanted(oracle, call, photos, tmp_path):
    def drawn(*flags):
        assert call("run", photos / "a.png", "--out", tmp_path / "out.png", *flags)[0] == 0
        return np.count_nonzero(cv2.imread(str(tmp_path / "out.png")).any(-1))

    everything = drawn()
    assert drawn("--no-labels", "--no-boxes", "--no-masks") == 0
    assert 0 < drawn("--no-masks", "--no-labels") < drawn("--no-masks") < everything
    assert drawn("--no-labels", "--no-boxes") > 0


def test_run_notes_what_parts_knows(call, photos, oracle, monkeypatch):
    oracle.bundle.path = notes.EMBEDDED_FOLDER / notes.EMBEDDED_BUNDLE
    code, _, err = call("run", photos)
    assert (code, err.count("\n")) == (0, 1)
    assert "note: the bundle parts knows 3 drawn machine parts (bolt, nut, gear" in err
    assert "nanoseg bundle get coco" in err
    assert call("run", PARTS, "--limit", 1)[2] == ""


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (24.46, "24.5 frames/s"),
        (1, "1.0 frames/s"),
        (0.5, "2.0 s a frame"),
        (0.01, "100.0 s a frame"),
        (0, "0.0 frames/s"),
    ],
)
def test_format_rate(rate, text):
    assert terminal.format_rate(rate) == text


def test_progress_lines_without_a_terminal(monkeypatch, capsys):
    now_s = [100.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now_s[0])
    with terminal.progress_bar("segmenting", 10) as advance:
        for _ in range(10):
            now_s[0] += 4
            advance()
    assert capsys.readouterr().err.splitlines() == [
        f"nanoseg: segmenting: {done} of 10 frames, 4.0 s a frame, {left} left"
        for done, left in ((3, "0:00:28"), (6, "0:00:16"), (9, "0:00:04"))
    ]
    with terminal.progress_bar("reading", None, unit="images") as advance:
        now_s[0] += 11
        advance()
        advance()
    assert capsys.readouterr().err == "nanoseg: reading: 1 image, 11.0 s an image\n"


@pytest.mark.parametrize("columns", [20, 30, 40, 79])
def test_progress_bar_fits_a_narrow_terminal(monkeypatch, columns):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    with terminal.progress_bar("segmenting", 100000) as advance:
        for _ in range(3):
            advance()
    lines = re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", shown.getvalue()).replace("\r", "\n").splitlines()
    assert any("/100000" in line for line in lines)
    assert max(len(line) for line in lines) <= columns


def test_progress_bar_on_a_terminal_that_is_gone(monkeypatch):
    class Gone(io.StringIO):
        def isatty(self):
            return True

        def write(self, text):
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(sys, "stderr", Gone())
    monkeypatch.setenv("TERM", "xterm")
    with terminal.progress_bar("segmenting", 3) as advance:
        advance()
