"""The demo's files and figures, with a segmenter that knows the truth."""

import json
from pathlib import Path

import numpy as np
import pytest

import nanoseg
from nanoseg.errors import BundleError
from nanoseg.records import read_record
from tests.oracle import Oracle, detections

cv2 = pytest.importorskip("cv2")
pytest.importorskip("supervision")
pytest.importorskip("pycocotools")
from nanoseg import demo  # noqa: E402
from nanoseg.sources.parts import LABELS, TEST_SEED, Line  # noqa: E402

FRAMES = 12
STAGES = {"prepare", "detect", "embed", "segment", "total", "read", "draw", "write"}


def knowing(every=1):
    """Finds every `every`th part of the test line, exactly as it is."""
    line = Line(TEST_SEED)

    def find(frame):
        truth = line.truth(frame.index)
        some = slice(None, None, every)
        return detections(frame.size_hw, truth.xyxy[some], truth.class_id[some], labels=LABELS, masks=truth.masks[some])

    return Oracle(find, LABELS)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nanoseg, "load", lambda *_, **__: knowing())
        report = demo.demo(out, FRAMES)
    return out, report


def test_the_four_files_and_no_others(made):
    out, report = made
    names = ["annotated.mp4", "contact-sheet.png", "report.json", "results.jsonl"]
    assert sorted(path.name for path in out.iterdir()) == names
    assert json.loads((out / "report.json").read_text()) == report
    lines = (out / "results.jsonl").read_bytes().splitlines()
    assert [read_record(line).frame for line in lines] == list(range(FRAMES))


def test_the_report_has_the_designs_keys(made):
    _, report = made
    scores = ["map50_95", "map50", "miou", "miou_small", "miou_medium", "miou_large"]
    assert list(report) == ["backend", "device", "frames", "fps", "fps_segmenter", "latency_ms", *scores]
    assert (report["backend"], report["device"], report["frames"]) == ("onnxruntime", "CPU, 2 threads", FRAMES)
    assert set(report["latency_ms"]) == STAGES
    assert all(set(spent) == {"p50", "p95", "p99"} for spent in report["latency_ms"].values())
    assert report["latency_ms"]["total"] == {"p50": 10, "p95": 10, "p99": 10}
    assert report["fps_segmenter"] == 100
    assert report["fps"] > 0


def test_who_knows_the_truth_is_right(made):
    _, report = made
    assert report["map50_95"] == pytest.approx(1)
    assert report["map50"] == pytest.approx(1)
    # What is missing is what logits on a grid of 128 x 128 cannot tell.
    assert 0.85 < report["miou"] < 1
    assert report["miou_small"] is None or report["miou_small"] < report["miou_large"]


def test_the_film_goes_from_line_to_line_and_back(made):
    shots = demo.Shots()
    order = [0, 29, 30, 61, 31, 0]
    frames = [shots.frame(i) for i in order]
    truths = [shots.truth(i) for i in order]
    assert [frame.index for frame in frames] == order
    for index, frame, truth in zip(order, frames, truths, strict=True):
        line = Line(TEST_SEED + index // 30)
        assert np.array_equal(frame.image, line.frame(index % 30).image)
        assert np.array_equal(truth.xyxy, line.truth(index % 30).xyxy)


def test_video_and_contact_sheet_show_the_parts(made):
    out, _ = made
    capture = cv2.VideoCapture(str(out / "annotated.mp4"))
    assert int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) == FRAMES
    assert capture.get(cv2.CAP_PROP_FPS) == 25
    good, first = capture.read()
    sheet = cv2.imread(str(out / "contact-sheet.png"))
    plain = Line(TEST_SEED).frame(0).image
    assert good
    assert sheet.shape == (3 * 480, 3 * 640, 3)
    tile = sheet[:480, :640]
    assert np.abs(first.astype(int) - tile).mean() < 6  # the video is lossy
    touched = (tile != plain).any(-1)
    truth = Line(TEST_SEED).truth(0)
    assert touched[truth.masks.any(0)].mean() > 0.9
    assert touched.mean() < 0.9


def test_what_is_missed_counts_nothing(tmp_path, made):
    line = Line(TEST_SEED)
    half = demo.measure(knowing(2), line, tmp_path, FRAMES)
    total = sum(len(line.truth(i)) for i in range(FRAMES))
    kept = sum(-(-len(line.truth(i)) // 2) for i in range(FRAMES))
    assert half["miou"] == pytest.approx(made[1]["miou"] * kept / total, abs=0.02)
    assert half["map50"] < 0.8


@pytest.mark.parametrize(
    ("tiles", "shape"), [(1, (30, 40)), (2, (30, 80)), (4, (60, 80)), (7, (90, 120)), (9, (90, 120))]
)
def test_contact_sheets(tiles, shape):
    pictures = [np.full((30, 40, 3), 10 + i, np.uint8) for i in range(tiles)]
    sheet = cv2.imdecode(np.frombuffer(demo.contact_sheet(pictures), np.uint8), cv2.IMREAD_COLOR)
    assert sheet.shape == (*shape, 3)
    columns = shape[1] // 40
    for i in range(tiles):
        top, left = i // columns * 30, i % columns * 40
        assert (sheet[top : top + 30, left : left + 40] == 10 + i).all()


def test_it_is_the_embedded_bundle_whatever_lies_here(tmp_path, monkeypatch):
    def load(bundle):
        raise BundleError(str(bundle))

    monkeypatch.setattr(nanoseg, "load", load)
    with pytest.raises(BundleError, match=str(Path(nanoseg.__file__).parent / "bundles" / "parts")):
        demo.demo(tmp_path, 1)


def test_a_bundle_for_something_else_is_refused(tmp_path, monkeypatch):
    other = Oracle(None, ("cat", "dog"))
    monkeypatch.setattr(nanoseg, "load", lambda *_, **__: other)
    with pytest.raises(BundleError, match="not made for the simulated line"):
        demo.demo(tmp_path, 1)
    assert other.closed
