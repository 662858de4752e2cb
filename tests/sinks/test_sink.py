"""Results, pictures and video on disk: nothing half-written under a final name, nothing written over a source."""

import io
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from nanoseg.errors import EngineError, SourceError, UsageError
from nanoseg.sinks.images import ImageFolder
from nanoseg.sinks.json_lines import JsonLines
from nanoseg.sinks.records import read_record
from nanoseg.sinks.sink import StopRequested, is_clean_end
from nanoseg.types import Frame
from nanoseg.utils.files import part_path
from tests.fakes.segmenter import nut_in_upper_left

cv2 = pytest.importorskip("cv2")
from nanoseg.sinks import video as video_sink  # noqa: E402


def frame(index=0, name="", size_hw=(48, 64), level=0):
    return Frame(np.full((*size_hw, 3), level, np.uint8), index, 1_700_000_000_000_000_000 + index, name)


def put(sink, count=3):
    for index in range(count):
        one = frame(index, f"{index}.png", level=40 * index)
        sink.write(one, nut_in_upper_left(one), one.image)


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_line_a_frame_that_reads_back(tmp_path):
    path = tmp_path / "new" / "found.jsonl"
    with JsonLines(path) as sink:
        put(sink)
        assert listing(path.parent) == ["found.part.jsonl"]
        assert len(part_path(path).read_text().splitlines()) == 3  # somebody may read along
    assert listing(path.parent) == ["found.jsonl"]
    records = [read_record(line) for line in path.read_bytes().splitlines()]
    assert [(one.frame, one.name) for one in records] == [(0, "0.png"), (1, "1.png"), (2, "2.png")]
    assert records[0].objects[0].xyxy == (0, 0, 32, 24)
    inside = records[0].objects[0].mask.decode()
    assert inside.shape == (48, 64)
    assert inside[:23, :31].all()
    assert not inside[26:].any()


ENDS = [(None, True), (KeyboardInterrupt, True), (SourceError, True), (StopRequested, True), (BrokenPipeError, True)]
ENDS += [(EngineError, False), (MemoryError, False), (OSError, False)]


@pytest.mark.parametrize(("end", "kept"), ENDS)
@pytest.mark.parametrize("kind", [JsonLines, lambda path: video_sink.Video(path, 25)], ids=["results", "video"])
def test_what_stays_after_which_end(tmp_path, kind, end, kept):
    path = tmp_path / "it.mp4"
    path.write_bytes(b"from before")
    try:
        with kind(path) as sink:
            put(sink)
            if end is not None:
                raise end
    except BaseException as error:
        assert type(error) is end  # noqa: PT017
    assert is_clean_end(end) == kept
    assert (path.read_bytes() != b"from before") == kept
    assert part_path(path).exists() != kept


def test_results_to_stdout(monkeypatch):
    stdout = SimpleNamespace(buffer=io.BytesIO())
    monkeypatch.setattr(sys, "stdout", stdout)
    with JsonLines("-") as sink:
        put(sink)
    lines = stdout.buffer.getvalue().splitlines()  # and it is not closed
    assert [json.loads(line)["frame"] for line in lines] == [0, 1, 2]


def test_a_device_is_written_and_not_replaced(tmp_path):
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with JsonLines(fifo) as sink:
        put(sink, 1)
    assert json.loads(os.read(reader, 1 << 20))["frame"] == 0
    os.close(reader)
    assert fifo.is_fifo()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: JsonLines(folder), "cannot be written: it is a folder"),
        (lambda folder: JsonLines("."), "cannot be written: it is a folder"),
        (lambda folder: JsonLines(folder / "file" / "a.jsonl"), "cannot be made a folder to write to"),
        (lambda folder: ImageFolder(folder / "file"), "cannot be made a folder to write to"),
        (lambda folder: video_sink.Video(folder / "file" / "a.mp4", 25), "cannot be made a folder to write to"),
    ],
)
def test_a_place_that_cannot_be_written_is_a_usage_error(tmp_path, make, message):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match=message):
        make(tmp_path)


def test_pictures_keep_their_names(tmp_path):
    names = ["a/x.png", "b/x.png", "c/x.bmp", "c/scan", "c/x-2.png", ""]
    with ImageFolder(tmp_path / "out") as sink:
        for index, name in enumerate(names):
            one = frame(index, name, level=index)
            sink.write(one, nut_in_upper_left(one), one.image)
    written = {path.name: int(cv2.imread(str(path))[0, 0, 0]) for path in (tmp_path / "out").iterdir()}
    assert written == {"x.png": 0, "x-2.png": 1, "x.bmp": 2, "scan.png": 3, "x-2-2.png": 4, "frame-000005.png": 5}


@pytest.mark.parametrize("name", ["x.png", "x.part.png"])
@pytest.mark.parametrize(
    "sink",
    [
        ImageFolder,
        lambda folder, sources: video_sink.Video(folder / "x.png", 25, sources),
        lambda folder, sources: JsonLines(folder / "x.png", sources),
    ],
    ids=["pictures", "video", "results"],
)
def test_nothing_goes_over_a_source(tmp_path, sink, name):
    (tmp_path / name).write_bytes(b"precious")
    # Another frame than the one that is lost: all of a folder's are to be minded.
    one, sources = frame(0, "elsewhere/x.png"), [tmp_path / "missing.png", tmp_path / "." / name]
    message = "x.png: would be written over a file that frames are read from"
    with pytest.raises(UsageError, match=message), sink(tmp_path, sources) as opened:
        opened.write(one, nut_in_upper_left(one), one.image)
    assert (tmp_path / name).read_bytes() == b"precious"
    assert listing(tmp_path) == [name]


@pytest.mark.parametrize("end", [SourceError, KeyboardInterrupt, EngineError])
def test_results_of_no_frame_leave_those_from_before(tmp_path, end):
    (tmp_path / "r.jsonl").write_bytes(b"from before")
    with pytest.raises(end), JsonLines(tmp_path / "r.jsonl"):
        raise end
    assert (tmp_path / "r.jsonl").read_bytes() == b"from before"
    assert listing(tmp_path) == ["r.jsonl"]
    with JsonLines(tmp_path / "r.jsonl"):  # a whole run that had nothing to say
        pass
    assert (tmp_path / "r.jsonl").read_bytes() == b""


def write_one(sink, name="x.png"):
    one = frame(0, name)
    with sink as opened:
        opened.write(one, nut_in_upper_left(one), one.image)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("x.png", lambda folder: write_one(ImageFolder(folder))),
        ("x.mp4", lambda folder: write_one(video_sink.Video(folder / "x.mp4", 25))),
    ],
)
def test_a_folder_in_the_way_is_told(tmp_path, name, write):
    (tmp_path / name / "full").mkdir(parents=True)
    with pytest.raises(UsageError, match=f"{name}: cannot be written: "):
        write(tmp_path)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_told():
    with pytest.raises(UsageError, match="/dev/full: cannot be written: No space left"):
        write_one(JsonLines("/dev/full"))


def test_a_video_that_its_codec_refuses_is_told(tmp_path):
    pytest.importorskip("av")
    one = frame(0, size_hw=(2, 20_000))
    with pytest.raises(UsageError, match="the video cannot be written"), video_sink.Video(tmp_path / "a.mp4", 25) as to:
        to.write(one, nut_in_upper_left(one), one.image)


def test_a_colon_in_a_folders_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_one(video_sink.Video(Path("line:1") / "a.mp4", 25))
    assert listing(tmp_path / "line:1") == ["a.mp4"]


def test_a_picture_too_large_for_its_format_is_told(tmp_path):
    one = frame(0, "wide.webp", (2, 20_000))
    with (
        ImageFolder(tmp_path) as sink,
        pytest.raises(UsageError, match=r"20000 x 2 pixels cannot be written as \.webp"),
    ):
        sink.write(one, nut_in_upper_left(one), one.image)


@pytest.mark.parametrize("encoder", ["_PyAv", "_OpenCv"])
@pytest.mark.parametrize(("size_hw", "fps"), [((48, 64), 25), ((47, 63), 12.5), ((48, 64), 30_000 / 1001)])
def test_a_video_can_be_played(tmp_path, monkeypatch, encoder, size_hw, fps):
    if encoder == "_PyAv":
        pytest.importorskip("av")
    else:
        monkeypatch.setattr(video_sink, "_PyAv", lambda *_: (_ for _ in ()).throw(ImportError))
    path = tmp_path / "out" / "a.mp4"
    with video_sink.Video(path, fps) as sink:
        for index in range(12):
            one = frame(index, "", size_hw, 20 * index)
            sink.write(one, nut_in_upper_left(one), one.image)
    assert listing(path.parent) == ["a.mp4"]
    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(fps, rel=1e-3)
    levels = []
    while (read := capture.read())[0]:
        assert read[1].shape == (48, 64, 3)
        levels.append(round(read[1].mean() / 20))
    assert levels == list(range(12))


def test_a_video_of_no_frames_is_no_file(tmp_path):
    with video_sink.Video(tmp_path / "a.mp4", 25):
        pass
    assert listing(tmp_path) == []
