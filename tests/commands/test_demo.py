"""The demo's files and figures, with a segmenter that knows the truth."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

import nanoseg
from nanoseg.errors import BundleError, SourceError, UsageError
from nanoseg.sinks.records import read_record
from nanoseg.sources.source import Source
from nanoseg.types import Frame
from tests.fakes.segmenter import FakeSegmenter, detections

cv2 = pytest.importorskip("cv2")
pytest.importorskip("supervision")
pytest.importorskip("pycocotools")
from nanoseg.commands import demo  # noqa: E402
from nanoseg.commands.earlier_demo import EarlierDemo, _images  # noqa: E402
from nanoseg.sources.simulator.line import LABELS, TEST_SEED, SimulatedLine  # noqa: E402

FRAMES = 12
STAGES = {"prepare", "detect", "embed", "segment", "total", "read", "draw", "write"}


def knowing(every=1):
    """Finds every `every`th part of the test line, exactly as it is."""
    line = SimulatedLine(TEST_SEED)

    def find(frame):
        truth = line.truth(frame.index)
        some = slice(None, None, every)
        return detections(frame.size_hw, truth.xyxy[some], truth.class_id[some], labels=LABELS, masks=truth.masks[some])

    return FakeSegmenter(find, LABELS)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nanoseg, "load", lambda *_, **__: knowing())
        report = demo.demo(out, FRAMES)
    return out, report


def test_demo_writes_four_files(made):
    out, report = made
    names = ["annotated.mp4", "contact-sheet.png", "report.json", "results.jsonl"]
    assert sorted(path.name for path in out.iterdir()) == names
    assert json.loads((out / "report.json").read_text()) == report
    lines = (out / "results.jsonl").read_bytes().splitlines()
    assert [read_record(line).frame for line in lines] == list(range(FRAMES))


def test_demo_report_keys(made):
    _, report = made
    scores = ["map50_95", "map50", "miou", "miou_small", "miou_medium", "miou_large"]
    start, end = (
        ["backend", "device", "frames", "fps", "fps_segmenter", "latency_ms"],
        ["interrupted", "source", "bundle"],
    )
    assert list(report) == [*start, *scores, *end]
    assert (report["interrupted"], report["source"], report["bundle"]) == (False, "the simulated line", "parts")
    assert (report["backend"], report["device"], report["frames"]) == ("onnxruntime", "CPU, 2 threads", FRAMES)
    assert set(report["latency_ms"]) == STAGES
    assert all(set(spent) == {"p50", "p95", "p99"} for spent in report["latency_ms"].values())
    assert report["latency_ms"]["total"] == {"p50": 10, "p95": 10, "p99": 10}
    assert report["fps_segmenter"] == 100
    assert report["fps"] > 0


def test_demo_scores_of_an_oracle(made):
    _, report = made
    assert report["map50_95"] == pytest.approx(1)
    assert report["map50"] == pytest.approx(1)
    # What is missing is what logits on a grid of 128 x 128 cannot tell.
    assert 0.85 < report["miou"] < 1
    assert report["miou_small"] is None or report["miou_small"] < report["miou_large"]


def test_demo_lines_give_frames_in_any_order(made):
    shots = demo.DemoLines()
    order = [0, 29, 30, 61, 31, 0]
    frames = [shots.frame(i) for i in order]
    truths = [shots.truth(i) for i in order]
    assert [frame.index for frame in frames] == order
    for index, frame, truth in zip(order, frames, truths, strict=True):
        line = SimulatedLine(TEST_SEED + index // 30)
        assert np.array_equal(frame.image, line.frame(index % 30).image)
        assert np.array_equal(truth.xyxy, line.truth(index % 30).xyxy)


def test_demo_video_and_contact_sheet_show_the_parts(made):
    out, _ = made
    capture = cv2.VideoCapture(str(out / "annotated.mp4"))
    assert int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) == FRAMES
    assert capture.get(cv2.CAP_PROP_FPS) == 25
    good, first = capture.read()
    sheet = cv2.imread(str(out / "contact-sheet.png"))
    plain = SimulatedLine(TEST_SEED).frame(0).image
    assert good
    assert sheet.shape == (3 * 480, 3 * 640, 3)
    tile = sheet[:480, :640]
    assert np.abs(first.astype(int) - tile).mean() < 6  # the video is lossy
    touched = (tile != plain).any(-1)
    truth = SimulatedLine(TEST_SEED).truth(0)
    assert touched[truth.masks.any(0)].mean() > 0.9
    assert touched.mean() < 0.9


def test_demo_scores_of_missed_objects(tmp_path, made):
    line = SimulatedLine(TEST_SEED)
    half, _ = demo.measure(knowing(2), demo.simulated_input(FRAMES, line), tmp_path, limit=FRAMES)
    total = sum(len(line.truth(i)) for i in range(FRAMES))
    kept = sum(-(-len(line.truth(i)) // 2) for i in range(FRAMES))
    assert half["miou"] == pytest.approx(made[1]["miou"] * kept / total, abs=0.02)
    assert half["map50"] < 0.8


def test_demo_opens_the_embedded_bundle(tmp_path, monkeypatch):
    def load(bundle, *_, **__):
        raise BundleError(str(bundle))

    monkeypatch.setattr(nanoseg, "load", load)
    with pytest.raises(BundleError, match=str(Path(nanoseg.__file__).parent / "bundles" / "parts")):
        demo.demo(tmp_path, 1)


def test_demo_bundle_for_something_else_is_refused(tmp_path, monkeypatch):
    other = FakeSegmenter(None, ("cat", "dog"))
    monkeypatch.setattr(nanoseg, "load", lambda *_, **__: other)
    with pytest.raises(BundleError, match="not made for the simulated line"):
        demo.demo(tmp_path / "out", 1)
    assert other.closed
    assert not (tmp_path / "out").exists()


def anything():
    """Finds one box in every picture; knows cats and dogs."""

    def find(frame):
        box = np.array([[2, 2, 20, 20]], np.float32)
        masks = np.zeros((1, *frame.size_hw), bool)
        masks[0, 2:20, 2:20] = True
        return detections(frame.size_hw, box, np.array([1]), labels=("cat", "dog"), masks=masks)

    return FakeSegmenter(find, ("cat", "dog"))


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, (height, width) in {"a.png": (48, 64), "b.png": (64, 48), "c.jpg": (40, 40)}.items():
        cv2.imwrite(str(folder / name), np.full((height, width, 3), 90, np.uint8))
    return folder


def test_demo_of_a_folder_writes_images(tmp_path, photos, monkeypatch, capsys):
    monkeypatch.setattr(nanoseg, "load", lambda *_, **__: anything())
    (photos / "broken.png").write_bytes(b"no picture")
    out = tmp_path / "out"
    report = demo.demo(out, 300, source=str(photos), bundle="animals")
    names = ["annotated", "contact-sheet.png", "report.json", "results.jsonl"]
    assert sorted(path.name for path in out.iterdir()) == names
    assert sorted(path.name for path in (out / "annotated").iterdir()) == ["a.png", "b.png", "c.jpg"]
    assert report["frames"] == 3
    assert [report[name] for name in demo.METRICS] == [None] * 6
    assert cv2.imread(str(out / "contact-sheet.png")).shape == (2 * 48, 2 * 64, 3)
    got = capsys.readouterr()
    assert "broken.png" in got.err
    assert "mIoU" not in got.out


@pytest.mark.parametrize("name", ["contact-sheet.png", "report.json"])
def test_demo_no_source_is_written_over(tmp_path, photos, monkeypatch, name):
    segmenter = anything()
    monkeypatch.setattr(nanoseg, "load", lambda *_, **__: segmenter)
    (photos / "a.png").rename(photos / name)  # what it holds tells that it is a picture
    before = {path.name: path.read_bytes() for path in photos.iterdir()}
    with pytest.raises(UsageError, match=f"{name}: would be written over a file that frames are read from"):
        demo.demo(photos, 300, source=str(photos / "*"), bundle="animals")
    assert {path.name: path.read_bytes() for path in photos.iterdir()} == before
    assert segmenter.frames == []


def test_demo_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(nanoseg, "load", lambda *_, **__: anything())
    report = demo.demo(tmp_path, 4, source="parts://?seed=1&size=160x120")
    capture = cv2.VideoCapture(str(tmp_path / "annotated.mp4"))
    assert (report["frames"], int(capture.get(cv2.CAP_PROP_FRAME_COUNT))) == (4, 4)


def test_demo_keeps_frames_before_a_source_failed(tmp_path, photos, monkeypatch):
    def gives_out():
        yield Frame(np.zeros((48, 64, 3), np.uint8))
        raise SourceError("unplugged")

    monkeypatch.setattr(nanoseg, "load", lambda *_, **__: anything())
    monkeypatch.setattr(demo, "open_source", lambda *_, **__: Source(gives_out(), None, 25.0))
    with pytest.raises(SourceError, match="unplugged"):
        demo.demo(tmp_path, 9, source="camera")
    assert json.loads((tmp_path / "report.json").read_text())["frames"] == 1
    assert (tmp_path / "annotated.mp4").stat().st_size > 0


def test_demo_finishes_a_frame_before_the_next_is_read(tmp_path, monkeypatch):
    # On a GPU the latencies of a stream contain the time of drawing and writing, which the report states apart.
    written = []

    def source():
        for index in range(3):
            written.append((tmp_path / "results.part.jsonl").read_bytes().count(b"\n"))
            yield Frame(np.zeros((48, 64, 3), np.uint8), index)

    monkeypatch.setattr(nanoseg, "load", lambda *_, **__: anything())
    monkeypatch.setattr(demo, "open_source", lambda *_, **__: Source(source(), 3, 25.0))
    report = demo.demo(tmp_path, 9, source="camera")
    assert written == [0, 1, 2]
    assert report["latency_ms"]["total"]["p50"] == 10


def test_demo_source_without_a_frame_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(nanoseg, "load", lambda *_, **__: anything())
    monkeypatch.setattr(demo, "open_source", lambda *_, **__: Source((), None, 25.0))
    with pytest.raises(SourceError, match="gave no frame"):
        demo.demo(tmp_path, 9, source="camera")
    assert list(tmp_path.iterdir()) == []


def test_demo_interrupted_gives_a_partial_report(tmp_path, monkeypatch, capsys):
    def interrupted():
        for index in range(3):
            yield Frame(np.zeros((48, 64, 3), np.uint8), index)
        raise KeyboardInterrupt

    monkeypatch.setattr(nanoseg, "load", lambda *_, **__: anything())
    monkeypatch.setattr(demo, "open_source", lambda *_, **__: Source(interrupted(), None, 25.0))
    with pytest.raises(KeyboardInterrupt):
        demo.demo(tmp_path, 9, source="camera")
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["frames"], report["interrupted"]) == (3, True)
    assert "interrupted after 3 frames of camera" in capsys.readouterr().out
    names = ["annotated.mp4", "contact-sheet.png", "report.json", "results.jsonl"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_demo_does_not_mix_with_an_earlier_one(tmp_path, photos, monkeypatch, capsys):
    monkeypatch.setattr(nanoseg, "load", lambda *_, **__: anything())
    out = tmp_path / "out"
    demo.demo(out, 9, source=str(photos), bundle="animals")
    demo.demo(out, 9, source=str(photos), bundle="animals")
    assert "replacing" not in capsys.readouterr().err
    (out / "annotated" / "mine.txt").write_text("a user's")
    demo.demo(out, 9, source=str(photos / "a.png"), bundle="animals")
    note = f"nanoseg: {out}: replacing the results of another demo, of {photos} with animals\n"
    assert capsys.readouterr().err == note
    assert sorted(path.name for path in (out / "annotated").iterdir()) == ["a.png", "mine.txt"]
    demo.demo(out, 3, source="parts://?seed=1&size=160x120", bundle="animals")
    assert (out / "annotated.mp4").is_file()
    assert [path.name for path in (out / "annotated").iterdir()] == ["mine.txt"]
    demo.demo(out, 9, source=str(photos), bundle="animals")
    assert not (out / "annotated.mp4").exists()
    assert sorted(path.name for path in (out / "annotated").iterdir()) == ["a.png", "b.png", "c.jpg", "mine.txt"]


@pytest.mark.parametrize("name", ["results.jsonl", "annotated.mp4"])
def test_demo_keeps_the_results_of_another_run(tmp_path, monkeypatch, name):
    segmenter = anything()
    monkeypatch.setattr(nanoseg, "load", lambda *_, **__: segmenter)
    (tmp_path / name).write_text("precious")
    with pytest.raises(UsageError, match="holds the results of another run; give another --out"):
        demo.demo(tmp_path, 9, source="parts://?seed=1&size=160x120", bundle="animals")
    assert (tmp_path / name).read_text() == "precious"
    assert segmenter.frames == []


@pytest.mark.parametrize("put", [os.mkfifo, lambda path: path.write_text("[" * 200_000)], ids=["FIFO", "deep"])
def test_demo_ignores_reports_that_cannot_be_read(tmp_path, put):
    for name in ("report.json", "results.jsonl"):
        put(tmp_path / name)
        if name == "report.json":
            EarlierDemo(tmp_path, "parts", "parts").remove_leftovers()
    assert not _images(tmp_path)
