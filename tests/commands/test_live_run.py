"""`nanoseg run` on live sources: real capture processes of the simulated line, an oracle for the networks."""

import json
import re
from collections import Counter

import pytest

from nanoseg.errors import EngineError
from nanoseg.sinks.records import read_record
from nanoseg.sinks.sink import StopRequested
from tests.fakes.segmenter import nut_in_upper_left

av = pytest.importorskip("av")
cv2 = pytest.importorskip("cv2")
pytest.importorskip("supervision")
PARTS = "parts://?seed=3&size=64x48&objects=2"
MORE = "parts://?seed=4&size=32x48&objects=2"


def sizes(path):
    with av.open(str(path)) as container:
        return [(frame.width, frame.height) for frame in container.decode(video=0)]


def records(path):
    return [read_record(line) for line in path.read_bytes().splitlines()]


def raise_at(number, error):
    seen = []

    def find(frame):
        seen.append(frame)
        if len(seen) == number:
            raise error
        return nut_in_upper_left(frame)

    return find


def test_run_live_writes_a_video_of_each_source_and_one_file_of_results(oracle, call, tmp_path):
    seen = Counter()

    def find(frame):
        if min(seen["parts"], seen["parts-2"]) == 3:
            raise StopRequested
        seen[frame.name] += 1
        return nut_in_upper_left(frame)

    oracle.find, results = find, tmp_path / "found.jsonl"
    code, out, _ = call("run", PARTS, MORE, "--live", "--out", tmp_path / "out", "--results", results)
    assert code == 0
    written = records(results)
    assert [one.frame for one in written if one.name == "parts-2"] == sorted(
        {one.frame for one in written if one.name == "parts-2"}
    )
    counts = {name: sum(one.name == name for one in written) for name in ("parts", "parts-2")}
    assert all(0 < counts[name] <= seen[name] for name in seen)  # a busy machine's disk may not take each in time
    assert all(one.age_ms > 0 and not one.shed and one.captured_ns for one in written)
    assert set(sizes(tmp_path / "out" / "parts.mp4")) == {(64, 48)}
    assert set(sizes(tmp_path / "out" / "parts-2.mp4")) == {(32, 48)}
    total = sum(seen.values())
    objects = rf"{total} objects \({total} nut\)"
    assert re.match(rf"{total} frames, {objects}, [\d.]+ frames/s, age p50 \d+ ms, p99 \d+ ms; ", out)
    assert f"; {seen['parts']} parts, {seen['parts-2']} parts-2" in out
    assert out.endswith(f" -> {tmp_path / 'out'}, {results}\n")


def test_run_live_json(oracle, call, tmp_path):
    code, out, err = call("run", PARTS, "--live", "--limit", 3, "--json", "--results", tmp_path / "r.jsonl")
    report = json.loads(out)
    assert (code, err) == (0, "")
    assert (report["frames"], report["classes"], report["interrupted"]) == (3, {"nut": 3}, False)
    (source,) = report["sources"]
    assert (source["name"], source["source"], source["segmented"], source["reconnects"]) == ("parts", PARTS, 3, 0)
    assert source["captured"] >= 3
    assert report["latency_ms"]["detect"]["p50"] == pytest.approx(2, rel=0.02)
    assert set(report["age_ms"]) == {"started", "finished", "written"}
    for ages in (report["age_ms"]["finished"], report["age_ms"]["written"][str(tmp_path / "r.jsonl")]):
        assert set(ages) == {"p50", "p90", "p99", "max"}
    assert report["sinks"] == {str(tmp_path / "r.jsonl"): {"written": 3, "dropped": 0}}
    assert (report["shed"], report["out"]) == ({}, None)


def test_run_live_ends_where_its_sources_end(oracle, call, tmp_path, photos):
    assert call("run", PARTS, "--limit", 5, "--out", tmp_path / "clip.mp4")[0] == 0
    code, out, err = call("run", tmp_path / "clip.mp4", "--live", "--results", "-")
    assert code == 0
    assert 0 < len(out.splitlines()) <= 5
    assert re.search(r"nanoseg: \d frames?, ", err)


def test_run_live_ctrl_c_leaves_playable_files(oracle, call, tmp_path):
    oracle.find = raise_at(4, KeyboardInterrupt)
    code, out, _ = call("run", PARTS, "--live", "--out", tmp_path, "--results", tmp_path / "r.jsonl")
    assert code == 130
    assert out.startswith("interrupted after 3 frames")
    assert len(sizes(tmp_path / "parts.mp4")) == len(records(tmp_path / "r.jsonl")) == 3
    assert oracle.closed


def test_run_live_failure_names_what_is_kept(oracle, call, tmp_path):
    oracle.find = raise_at(4, EngineError("detect.onnx: it broke"))
    code, out, err = call("run", PARTS, "--live", "--out", tmp_path, "--results", tmp_path / "r.jsonl")
    kept = f"{tmp_path / 'r.part.jsonl'}, {tmp_path / 'parts.part.mp4'}"
    assert (code, out) == (5, "")
    assert err == f"nanoseg: error: detect.onnx: it broke; the frames before it are in {kept}\n"
    assert len(sizes(tmp_path / "parts.part.mp4")) == len(records(tmp_path / "r.part.jsonl")) == 3


def test_run_live_disk_full_is_one_line(oracle, call):
    code, _, err = call("run", PARTS, "--live", "--results", "/dev/full")
    assert (code, err) == (2, "nanoseg: error: /dev/full: cannot be written: No space left on device\n")


def test_run_live_rotates(oracle, call, tmp_path):
    flags = ("--rotate", "1kB", "--limit", 12, "--results", tmp_path / "new" / "r.jsonl", "--out", tmp_path / "new")
    code, out, _ = call("run", PARTS, "--live", *flags, "--json")
    report = json.loads(out)
    assert (code, report["out"], report["results"]) == (0, str(tmp_path / "new"), str(tmp_path / "new" / "r-*.jsonl"))
    parts = sorted((tmp_path / "new").glob("r-*Z*.jsonl"))
    assert len(parts) > 1
    videos = list((tmp_path / "new").glob("parts-*Z*.mp4"))
    written = [sum(len(records(part)) for part in parts), sum(len(sizes(video)) for video in videos)]
    assert written == [sink["written"] for sink in report["sinks"].values()]
    assert [sink["written"] + sink["dropped"] for sink in report["sinks"].values()] == [12, 12]
    assert len(list((tmp_path / "new").iterdir())) == len(parts) + len(videos)


def test_run_live_names_the_parts_of_a_file(oracle, call, tmp_path):
    flags = ("--rotate", "1h", "--limit", 2, "--out", tmp_path / "a.mp4", "--results", tmp_path / "r.jsonl")
    code, out, _ = call("run", PARTS, "--live", *flags)
    assert code == 0
    assert out.endswith(f" -> {tmp_path / 'a-*.mp4'}, {tmp_path / 'r-*.jsonl'}\n")
    assert [len(list(tmp_path.glob(name))) for name in ("a-*.mp4", "r-*.jsonl", "*")] == [1, 1, 2]


def test_run_live_keeps_what_a_killed_run_left(oracle, call, tmp_path):
    left = {name: tmp_path / name for name in ("parts.part.mp4", "r.part.jsonl")}
    for name, path in left.items():
        path.write_text(name)
    flags = ("--limit", 2, "--out", tmp_path, "--results", tmp_path / "r.jsonl")
    code, _, err = call("run", PARTS, "--live", *flags)
    kept = {
        name: re.search(f"{path}: an earlier run was cut off; .* kept as (.*)", err)[1] for name, path in left.items()
    }
    assert code == 0
    assert [(tmp_path / kept[name]).read_text() for name in left] == list(left)
    assert {path.name for path in tmp_path.iterdir()} == {"parts.mp4", "r.jsonl", *kept.values()}
    assert "replaced" not in err
    told = f"replaced at the end of this run: {tmp_path / 'r.jsonl'}, {tmp_path / 'parts.mp4'}; --rotate keeps "
    assert told in call("run", PARTS, "--live", *flags)[2]
    assert "replaced" not in call("run", PARTS, "--live", *flags, "--rotate", "1h")[2]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ((PARTS, "--rotate", "1h"), 2, f"--rotate: is for live sources; add --live to read {PARTS} at its own pace"),
        ((PARTS, "--deadline-ms", "33"), 2, "--deadline-ms: is for live sources; add --live"),
        ((PARTS, "--live", "--rotate", "1h"), 2, "--rotate: wanted a file to cut into parts"),
        ((PARTS, "--live", "--rotate", "1h", "--results", "-"), 2, "--rotate: wanted a file to cut into parts"),
        ((PARTS, "--live", "--rotate", "often", "--results", "r.jsonl"), 2, "--rotate often: wanted a time or a size"),
        (
            (PARTS, "--live", "--rotate", "1h", "--results", "coco.json"),
            2,
            "--results coco.json: results with --rotate are JSON lines",
        ),
        ((PARTS, "--live", "--rotate", "1h", "--results", "labels/"), 2, "results with --rotate are JSON lines"),
        ((PARTS, MORE, "--live", "--results", "labels/"), 2, "results of several sources are JSON lines"),
        ((PARTS, MORE, "--live", "--out", "out.mp4"), 2, "--out out.mp4: 2 sources want a folder, for a video of each"),
        ((PARTS, "--live", "--out", ".", "--results", "parts.part.mp4"), 2, "parts.part.mp4: is the temporary name of"),
        ((PARTS, "--live", "--deadline-ms", "inf"), 2, "--deadline-ms"),
        ((PARTS, "--live", "--deadline-ms", "nan"), 2, "--deadline-ms"),
        ((PARTS, "--live", "--out", "out.png"), 2, "wanted a folder or a video"),
        (("/dev/video0", PARTS), 2, f"{PARTS}: is no live source, others are; add --live"),
        (("nothing.mp4", "--live"), 3, "nothing.mp4: no such file or folder"),
        (("faults://?kinds=nothing",), 2, "nothing"),
        (("/dev/video0?size=big",), 2, "size wants WIDTHxHEIGHT"),
        ((PARTS, MORE), 2, "of several sources each wants to be a picture or a folder of them"),
    ],
)
def test_run_live_refuses_in_one_line(oracle, call, monkeypatch, tmp_path, words, code, message):
    monkeypatch.chdir(tmp_path)
    got, out, err = call("run", *words)
    assert (got, out, err.count("\n")) == (code, "", 1)
    assert message in err
    assert not list(tmp_path.iterdir())
    assert not hasattr(oracle, "calls")


def test_run_several_pictures_are_one_source(oracle, call, photos, tmp_path):
    results = tmp_path / "r.jsonl"
    (photos / "notes.txt").write_text("none of these is a picture")
    words = (photos / "c.png", photos / "notes.txt", photos, f"{photos}/*.jpg", "--results", results)
    code, out, err = call("run", *words)
    assert code == 0
    assert out.startswith("3 frames")
    assert [one.name.rpartition("/")[2] for one in records(results)] == ["c.png", "a.png", "b.jpg"]
    assert "notes.txt" in err
