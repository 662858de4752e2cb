"""`nanoseg run`: what it prints and writes, and what an interruption or an error leaves."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import nanoseg
from nanoseg import sinks
from nanoseg.errors import BundleError, EngineError
from nanoseg.processing import masks
from nanoseg.sinks.records import read_record
from tests.fakes.segmenter import nut_in_upper_left

cv2 = pytest.importorskip("cv2")
PARTS = "parts://?seed=3&size=64x48&objects=2"


def picture(path, level=0, size_hw=(48, 64)):
    assert cv2.imwrite(str(path), np.full((*size_hw, 3), level, np.uint8))
    return path


def stop_at(number, error):
    def find(frame):
        if frame.index == number:
            raise error
        return nut_in_upper_left(frame)

    return find


def test_run_prints_a_line_for_each_frame(oracle, call, photos):
    code, out, err = call("run", photos)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[:3] == [
        f"frame {i}  {name}  1 object: 1 nut  10.0 ms" for i, name in enumerate(("a.png", "b.jpg", "c.png"))
    ]
    assert re.fullmatch(r"3 frames, 3 objects \(3 nut\), [\d.]+ frames/s", lines[3])
    assert len(lines) == 4
    assert oracle.closed


def test_run_materializes_each_mask_once(oracle, call, photos, tmp_path, monkeypatch):
    made, positive = [], masks.positive
    monkeypatch.setattr(masks, "positive", lambda *args: made.append(args) or positive(*args))
    assert call("run", photos, "--out", tmp_path / "out", "--results", tmp_path / "found.jsonl")[0] == 0
    assert len(made) == 3  # one object a picture


def test_run_writes_images_results_and_a_summary(oracle, call, photos, tmp_path):
    out_dir, results = tmp_path / "out", tmp_path / "found.jsonl"
    code, out, err = call("run", photos, "--out", out_dir, "--results", results)
    assert (code, err) == (0, "")
    assert re.fullmatch(rf"3 frames, 3 objects \(3 nut\), [\d.]+ frames/s -> {out_dir}, {results}\n", out)
    assert sorted(path.name for path in out_dir.iterdir()) == ["a.png", "b.jpg", "c.png"]
    assert cv2.imread(str(out_dir / "a.png")).any()  # something was drawn on black
    records = [read_record(line) for line in results.read_bytes().splitlines()]
    assert [(one.frame, Path(one.name).name) for one in records] == [(0, "a.png"), (1, "b.jpg"), (2, "c.png")]


def test_run_results_on_stdout_are_alone_there(oracle, call, photos):
    code, out, err = call("run", photos / "a.png", "--results", "-")
    assert code == 0
    assert read_record(out).objects[0].class_name == "nut"
    assert re.fullmatch(r"nanoseg: 1 frame, 1 object \(1 nut\), [\d.]+ frames/s\n", err)


@pytest.mark.parametrize(
    ("name", "flags", "message"),
    [
        ("a.json", ("--results", "a.json"), "--results a.json: stdout takes JSON lines alone"),
        ("a.mp4", ("--out", "a.mp4"), "--out a.mp4: stdout takes --results alone"),
    ],
)
def test_run_refuses_other_outputs_on_stdout(oracle, call, tmp_path, monkeypatch, name, flags, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).symlink_to("/dev/stdout")
    code, out, err = call("run", PARTS, *flags)
    assert (code, out) == (2, "")
    assert err.startswith(f"nanoseg: error: {message}")


@pytest.mark.parametrize("flags", [("--results", "/dev/stdout"), ("--results", "/proc/self/fd/1")])
def test_run_results_on_stdout_by_another_name(oracle, call, photos, flags):
    code, out, err = call("run", photos, *flags)
    assert (code, out.count("\n")) == (0, 3)
    assert [json.loads(line)["frame"] for line in out.splitlines()] == [0, 1, 2]
    assert err.startswith("nanoseg: 3 frames")


def test_run_json_is_one_document(oracle, call, photos, tmp_path):
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
        "classes": {"nut": 3},
        "skipped": 1,
        "left_out": 0,
        "damaged": 0,
        "interrupted": False,
        "latency_ms": {
            stage: {"p50": spent, "p95": spent, "p99": spent}
            for stage, spent in (("prepare", 1), ("detect", 2), ("embed", 3), ("segment", 4), ("total", 10))
        },
        "out": None,
        "results": str(tmp_path / "r.jsonl"),
    }
    assert err == f"nanoseg: skipped: {photos / 'd.png'}: the file is empty (0 bytes)\n"


def test_run_passes_options_to_the_segmenter(oracle, call, photos):
    code, _, _ = call(
        *("run", photos, "--bundle", "mine", "--confidence", "0.5", "--iou", "0.6", "--nms", "across-classes"),
        *("--max-objects", "7", "--limit", "2"),
    )
    assert code == 0
    settings = {"confidence": 0.5, "iou": 0.6, "nms": "across-classes"}
    assert oracle.calls == (("mine", "auto"), {**settings, "max_objects": 7, "classes": None, "engines": None})
    assert len(oracle.frames) == 2
    code, _, err = call("run", photos, "--nms", "none")
    assert (code, err.count("\n")) == (2, 1)
    assert "'none' is not one of 'by-class', 'across-classes'" in err


def test_run_and_demo_pass_backend_and_engines(oracle, call, photos, tmp_path):
    oracle.backend, oracle.device = "tensorrt", "Orin (sm87) with TensorRT 10.3.0"
    which = ("--backend", "tensorrt", "--engines", tmp_path / "engines")
    code, out, _ = call("run", photos, "--json", *which)
    assert code == 0
    assert (json.loads(out)["backend"], json.loads(out)["device"]) == (oracle.backend, oracle.device)
    assert (oracle.calls[0][1], oracle.calls[1]["engines"]) == ("tensorrt", tmp_path / "engines")
    code, out, _ = call("demo", photos, "--out", tmp_path / "look", "--json", *which)
    assert code == 0
    assert (
        json.loads(out)["backend"] == json.loads((tmp_path / "look/report.json").read_text())["backend"] == "tensorrt"
    )
    assert (oracle.calls[0][1], oracle.calls[1]) == ("tensorrt", {"engines": tmp_path / "engines"})


def test_run_skips_bad_files_of_a_folder(oracle, call, photos):
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


def test_run_writes_the_simulated_line_as_a_video(oracle, call, tmp_path):
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


def test_run_keeps_the_frames_before_a_video_breaks_off(oracle, call, tmp_path):
    whole = video(tmp_path / "clip.avi")
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    code, out, err = call("run", whole, "--out", tmp_path / "out", "--results", tmp_path / "r.jsonl")
    assert code == 0
    assert re.match(r"nanoseg: .*clip\.avi: the file ends early: its end is missing", err)
    done = len((tmp_path / "r.jsonl").read_bytes().splitlines())
    assert 0 < done < 20
    assert out.startswith(f"{done} frames")
    written = cv2.VideoCapture(str(tmp_path / "out" / "clip.mp4"))
    assert int(written.get(cv2.CAP_PROP_FRAME_COUNT)) == done
    assert written.get(cv2.CAP_PROP_FPS) == 10


def test_run_keeps_what_was_written_before_ctrl_c(oracle, call, tmp_path):
    oracle.find = stop_at(3, KeyboardInterrupt)
    code, out, _ = call("run", PARTS, "--results", tmp_path / "r.jsonl", "--out", tmp_path)
    assert code == 130
    assert out.startswith("interrupted after 2 frames")  # the third was under way
    assert len((tmp_path / "r.jsonl").read_bytes().splitlines()) == 2
    assert (tmp_path / "parts.mp4").is_file()
    assert oracle.closed


def test_run_names_no_output_where_ctrl_c_came_before_the_first_frame(oracle, call, tmp_path):
    oracle.find = stop_at(1, KeyboardInterrupt)
    code, out, _ = call("run", PARTS, "--results", tmp_path / "r.jsonl", "--out", tmp_path)
    assert (code, out) == (130, "interrupted after 0 frames, 0 objects\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "expected_code", "message"),
    [
        (EngineError("detect.onnx: it broke"), 5, "detect.onnx: it broke"),
        (MemoryError(), 5, "out of memory; free some, or give it less at once"),
        (PermissionError(13, "Permission denied", "x.bin"), 2, "x.bin: Permission denied"),
        (
            RuntimeError("two\nlines"),
            1,
            "RuntimeError: two lines; this is a fault of nanoseg: "
            "run again with --debug for the traceback, and report it",
        ),
    ],
)
def test_run_failure_leaves_nothing_under_a_final_name(oracle, call, tmp_path, error, expected_code, message):
    oracle.find = stop_at(3, error)
    code, out, err = call("run", PARTS, "--results", tmp_path / "r.jsonl", "--out", tmp_path)
    kept = f"{tmp_path / 'r.part.jsonl'}, {tmp_path / 'parts.part.mp4'}"
    assert (code, out) == (expected_code, "")
    assert err == f"nanoseg: error: {message}; the frames before it (3) are in {kept}\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts.part.mp4", "r.part.jsonl"]


@pytest.mark.parametrize("flags", [("--out", "{0}"), ("--out", "{0}/new", "--results", "{0}/c.png")])
def test_run_refuses_to_overwrite_a_source(oracle, call, photos, flags):
    before = {path: path.read_bytes() for path in photos.iterdir()}
    code, _, err = call("run", photos, *(flag.format(photos) for flag in flags))
    assert code == 2
    assert "would be written over a file that frames are read from" in err
    assert {path: path.read_bytes() for path in photos.iterdir()} == before


@pytest.mark.parametrize(
    ("words", "missing", "module", "extra"),
    [
        (("run", PARTS, "--out", "new"), "supervision", "annotate", "draw"),
        (("run", PARTS, "--out", "new"), "av", "video", "video"),
        (("demo", "--out", "new"), "supervision", "annotate", "draw"),
    ],
)
def test_missing_library_is_named_before_the_bundle_is_loaded(
    oracle, call, monkeypatch, tmp_path, words, missing, module, extra
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.delitem(sys.modules, f"nanoseg.sinks.{module}", raising=False)
    monkeypatch.delattr(sinks, module, raising=False)
    code, out, err = call(*words)
    assert (code, out, err.count("\n")) == (6, "", 1)
    assert f'pip install "nanoseg[{extra}]"' in err
    assert not hasattr(oracle, "calls")
    assert not list(tmp_path.iterdir())


def test_run_names_the_video_of_a_file_url(oracle, call, tmp_path):
    assert call("run", PARTS, "--limit", 2, "--out", tmp_path / "a b.mp4")[0] == 0
    url = (tmp_path / "a b.mp4").as_uri()
    assert call("run", url, "--out", tmp_path / "out", "--results", f"{tmp_path}/labels/")[0] == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a b.mp4"]
    assert sorted(path.name for path in (tmp_path / "labels" / "labels").iterdir())[0] == "a b-000000.txt"


def test_run_checks_the_bundle_before_it_writes(call, monkeypatch, photos, tmp_path):
    def load(*_, **__):
        raise BundleError("mine: no such bundle")

    monkeypatch.setattr(nanoseg, "load", load)
    assert call("run", photos, "--out", tmp_path / "out")[0] == 4
    assert not (tmp_path / "out").exists()
