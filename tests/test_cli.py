"""The command line: what each verb writes, what is said of each mistake, and the exit code of it."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import nanoseg
from nanoseg.errors import BundleError, EngineError
from nanoseg.processing import masks
from nanoseg.sinks.records import read_record
from tests.helpers.oracle import Oracle, quarter

cv2 = pytest.importorskip("cv2")
PARTS = "parts://?seed=3&size=64x48&objects=2"


@pytest.fixture
def oracle(monkeypatch):
    """What `nanoseg.load` gives; `.asked` is how it was called."""
    made = Oracle(quarter)

    def load(*args, **kwargs):
        made.asked = (args, kwargs)
        return made

    monkeypatch.setattr(nanoseg, "load", load)
    return made


def picture(path, level=0, size_hw=(48, 64)):
    assert cv2.imwrite(str(path), np.full((*size_hw, 3), level, np.uint8))
    return path


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, name in enumerate(("a.png", "b.jpg", "c.png")):
        picture(folder / name, 40 * i)
    return folder


def test_a_line_a_frame_where_nothing_else_was_asked_for(oracle, call, photos):
    code, out, err = call("run", photos)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[:3] == [
        f"frame {i}  {name}  1 object: 1 nut  10.0 ms" for i, name in enumerate(("a.png", "b.jpg", "c.png"))
    ]
    assert re.fullmatch(r"3 frames, 3 objects, [\d.]+ frames/s", lines[3])
    assert len(lines) == 4
    assert oracle.closed


def test_each_mask_is_made_once_for_the_picture_and_the_record(oracle, call, photos, tmp_path, monkeypatch):
    made, upsample = [], masks.upsample
    monkeypatch.setattr(masks, "upsample", lambda *args: made.append(args) or upsample(*args))
    assert call("run", photos, "--out", tmp_path / "out", "--results", tmp_path / "found.jsonl")[0] == 0
    assert len(made) == 3  # one object a picture


def test_pictures_results_and_summary(oracle, call, photos, tmp_path):
    out_dir, results = tmp_path / "out", tmp_path / "found.jsonl"
    code, out, err = call("run", photos, "--out", out_dir, "--results", results)
    assert (code, err) == (0, "")
    assert re.fullmatch(rf"3 frames, 3 objects, [\d.]+ frames/s -> {out_dir}, {results}\n", out)
    assert sorted(path.name for path in out_dir.iterdir()) == ["a.png", "b.jpg", "c.png"]
    assert cv2.imread(str(out_dir / "a.png")).any()  # something was drawn on black
    records = [read_record(line) for line in results.read_bytes().splitlines()]
    assert [(one.frame, Path(one.name).name) for one in records] == [(0, "a.png"), (1, "b.jpg"), (2, "c.png")]


def test_results_to_stdout_are_alone_there(oracle, call, photos):
    code, out, err = call("run", photos / "a.png", "--results", "-")
    assert code == 0
    assert read_record(out).objects[0].class_name == "nut"
    assert re.fullmatch(r"nanoseg: 1 frame, 1 object, [\d.]+ frames/s\n", err)


def test_json_is_one_document(oracle, call, photos, tmp_path):
    (photos / "d.png").write_bytes(b"")
    code, out, err = call("run", photos, "--json", "--results", tmp_path / "r.jsonl")
    report = json.loads(out)
    assert code == 0
    assert report.pop("fps") > 0
    assert report == {
        "source": str(photos),
        "backend": "onnxruntime",
        "device": "CPU, 2 threads",
        "frames": 3,
        "objects": 3,
        "skipped": 1,
        "interrupted": False,
        "latency_ms": {
            stage: {"p50": spent, "p95": spent, "p99": spent}
            for stage, spent in (("prepare", 1), ("detect", 2), ("embed", 3), ("segment", 4), ("total", 10))
        },
        "out": None,
        "results": str(tmp_path / "r.jsonl"),
    }
    assert err == f"nanoseg: skipped: {photos / 'd.png'}: the file is empty (0 bytes)\n"


def test_flags_reach_the_segmenter(oracle, call, photos):
    code, _, _ = call(
        "run", photos, "--bundle", "mine", "--confidence", "0.5", "--iou", "0.6", "--max-objects", "7", "--limit", "2"
    )
    assert code == 0
    settings = {"confidence": 0.5, "iou": 0.6, "max_objects": 7, "engines": None}
    assert oracle.asked == (("mine", "auto"), settings)
    assert len(oracle.frames) == 2


def test_the_backend_and_its_engines_reach_the_segmenter(oracle, call, photos, tmp_path):
    oracle.backend, oracle.device = "tensorrt", "Orin (sm87) with TensorRT 10.3.0"
    which = ("--backend", "tensorrt", "--engines", tmp_path / "engines")
    code, out, _ = call("run", photos, "--json", *which)
    assert code == 0
    assert (json.loads(out)["backend"], json.loads(out)["device"]) == (oracle.backend, oracle.device)
    assert (oracle.asked[0][1], oracle.asked[1]["engines"]) == ("tensorrt", tmp_path / "engines")
    code, out, _ = call("demo", photos, "--out", tmp_path / "look", "--json", *which)
    assert code == 0
    assert (
        json.loads(out)["backend"] == json.loads((tmp_path / "look/report.json").read_text())["backend"] == "tensorrt"
    )
    assert (oracle.asked[0][1], oracle.asked[1]) == ("tensorrt", {"engines": tmp_path / "engines"})


@pytest.mark.parametrize("verb", ["run", "segment", "demo"])
def test_a_backend_nobody_knows(call, photos, tmp_path, verb):
    place = ("--out", tmp_path / "out")
    point = ("--point", "3,4") if verb == "segment" else ()
    code, out, err = call(verb, photos / "a.png", *place, *point, "--backend", "tpu")
    assert (code, out) == (2, "")
    assert err == (
        "nanoseg: error: backend: wanted one of auto, onnxruntime, onnxruntime-cuda, onnxruntime-tensorrt, tensorrt, "
        "got tpu\n"
    )


def test_bad_files_of_a_folder_are_told_and_the_rest_goes_on(oracle, call, photos):
    (photos / "aa.png").write_bytes(b"nonsense")
    picture(photos / "big.png", 0, (100, 100))
    code, out, err = call("run", photos, "--max-pixels", 5000)
    assert code == 0
    assert out.count("\n") == 4
    assert "3 frames, 3 objects" in out
    assert "2 skipped" in out
    assert [line.partition(": wanted")[0].partition(": 100")[0] for line in err.splitlines()] == [
        f"nanoseg: skipped: {photos / name}" for name in ("aa.png", "big.png")
    ]


def test_the_line_becomes_a_video(oracle, call, tmp_path):
    code, out, err = call("run", PARTS, "--limit", 5, "--out", tmp_path)
    assert (code, err) == (0, "")
    assert out.endswith(f"-> {tmp_path / 'parts.mp4'}\n")
    assert int(cv2.VideoCapture(str(tmp_path / "parts.mp4")).get(cv2.CAP_PROP_FRAME_COUNT)) == 5


def video(path, frames=20):
    rng = np.random.default_rng(0)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for _ in range(frames):
        writer.write(rng.integers(0, 99, (48, 64, 3), dtype=np.uint8))
    writer.release()
    return path


def test_a_video_that_breaks_off_keeps_what_came_before(oracle, call, tmp_path):
    whole = video(tmp_path / "clip.avi")
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    code, out, err = call("run", whole, "--out", tmp_path / "out", "--results", tmp_path / "r.jsonl")
    assert code == 3
    assert re.search(r"nanoseg: error: .*clip\.avi: the video stops after \d+ of 20 frames", err)
    done = len((tmp_path / "r.jsonl").read_bytes().splitlines())
    assert 0 < done < 20
    assert out.startswith(f"{done} frames")
    written = cv2.VideoCapture(str(tmp_path / "out" / "clip.mp4"))
    assert int(written.get(cv2.CAP_PROP_FRAME_COUNT)) == done
    assert written.get(cv2.CAP_PROP_FPS) == 10


def stop_at(number, error):
    def find(frame):
        if frame.index == number:
            raise error
        return quarter(frame)

    return find


def test_ctrl_c_keeps_what_was_written(oracle, call, tmp_path):
    oracle.find = stop_at(3, KeyboardInterrupt)
    code, out, _ = call("run", PARTS, "--results", tmp_path / "r.jsonl", "--out", tmp_path)
    assert code == 130
    assert out.startswith("interrupted after 2 frames")  # the third was under way
    assert len((tmp_path / "r.jsonl").read_bytes().splitlines()) == 2
    assert (tmp_path / "parts.mp4").is_file()
    assert oracle.closed


@pytest.mark.parametrize("verb", [["build"], ["run", "x.jpg"]])
def test_a_verb_that_told_of_its_own_interruption_is_not_told_again(verb, call, monkeypatch):
    monkeypatch.setattr("nanoseg.commands.build.command.build", lambda _: 130)
    monkeypatch.setattr("nanoseg.commands.run.run", lambda _: 130)
    assert call(*verb) == (130, "", "")


def test_a_failure_leaves_nothing_under_a_final_name(oracle, call, tmp_path):
    oracle.find = stop_at(3, EngineError("detect.onnx: it broke"))
    code, out, err = call("run", PARTS, "--results", tmp_path / "r.jsonl", "--out", tmp_path)
    assert (code, out, err) == (5, "", "nanoseg: error: detect.onnx: it broke\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts.part.mp4", "r.part.jsonl"]


def test_an_unexpected_error_is_one_line_and_a_traceback_only_when_asked(oracle, call):
    oracle.find = stop_at(0, ZeroDivisionError("a bug\nof ours"))
    code, _, err = call("run", PARTS)
    assert code == 1
    assert err == "nanoseg: error: ZeroDivisionError: a bug of ours; run again with --debug to see where\n"
    for where in (["--debug", "run", PARTS], ["run", PARTS, "--debug"]):
        code, _, err = call(*where)
        assert code == 1
        assert "Traceback" in err
        assert err.endswith("nanoseg: error: ZeroDivisionError: a bug of ours\n")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run"], 2, "Missing argument"),
        (["run", "x.png", "--limit", "0"], 2, "--limit"),
        (["run", "x.png", "--confidence", "1.5"], 2, "--confidence"),
        (["run", "x.png", "--frobnicate"], 2, "--frobnicate"),
        (["frobnicate"], 2, "frobnicate"),
        (["run", "parts://?size=big"], 2, "size wants WIDTHxHEIGHT"),
        (["run", PARTS, "--json", "--results", "-"], 2, "both want stdout"),
        (["run", "nothing.png"], 3, "nothing.png: no such file or folder"),
        (["run", "rtsp://camera.example/1"], 3, "cameras and streams are not read"),
        (["info", "nothing"], 4, "nothing: no such bundle"),
    ],
)
def test_mistakes_are_one_line_with_their_code(oracle, call, arguments, code, message):
    got, out, err = call(*arguments)
    assert (got, out) == (code, "")
    assert re.fullmatch(r"nanoseg: error: [^\n]+\n", err)
    assert message in err


@pytest.mark.parametrize("flags", [("--out", "{0}"), ("--out", "{0}/new", "--results", "{0}/c.png")])
def test_no_source_is_written_over(oracle, call, photos, flags):
    before = {path: path.read_bytes() for path in photos.iterdir()}
    code, _, err = call("run", photos, *(flag.format(photos) for flag in flags))
    assert code == 2
    assert "would be written over a file that frames are read from" in err
    assert {path: path.read_bytes() for path in photos.iterdir()} == before


def test_a_bad_bundle_is_told_before_anything_is_written(call, monkeypatch, photos, tmp_path):
    def load(*_, **__):
        raise BundleError("mine: no such bundle")

    monkeypatch.setattr(nanoseg, "load", load)
    assert call("run", photos, "--out", tmp_path / "out")[0] == 4
    assert not (tmp_path / "out").exists()


def test_show_without_a_display_says_so(oracle, call, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    code, _, err = call("run", PARTS, "--show")
    assert (code, err) == (2, "nanoseg: error: --show: there is no display here; write pictures with --out instead\n")


@pytest.mark.parametrize("key", [ord("q"), 27])
def test_show_until_q(oracle, call, monkeypatch, key):
    shown = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "namedWindow", lambda *_: None)
    monkeypatch.setattr(cv2, "imshow", lambda _, image: shown.append(image))
    monkeypatch.setattr(cv2, "waitKey", lambda _: key if len(shown) == 4 else -1)
    monkeypatch.setattr(cv2, "destroyAllWindows", lambda: None)
    code, out, _ = call("run", PARTS, "--show")
    assert code == 0
    assert out.startswith("4 frames")
    assert (shown[0] != oracle.frames[0].image).any()


def test_show_with_an_opencv_without_windows(oracle, call, monkeypatch):
    def no_windows(*_):
        raise cv2.error("not implemented")

    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "namedWindow", no_windows)
    code, _, err = call("run", PARTS, "--show")
    assert code == 2
    assert "opencv-python-headless" in err


def test_version_and_help(call):
    assert call("--version") == (0, f"nanoseg {nanoseg.__version__}\n", "")
    for verb in ((), ("demo",), ("run",), ("segment",), ("info",), ("doctor",)):
        code, out, err = call(*verb, "--help")
        assert (code, err) == (0, "")
        assert "Examples:" in out
        assert f"  nanoseg {verb[0] if verb else 'demo'}" in out
    code, out, _ = call()
    assert code == 0
    assert "Usage: nanoseg" in out
