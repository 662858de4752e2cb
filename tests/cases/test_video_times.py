"""Times of video frames: the number of frames is an estimate and no damage, and what is written plays as long."""

from fractions import Fraction

import pytest

import nanoseg
from nanoseg.sinks.records import read_record
from nanoseg.sinks.video import Video
from nanoseg.sources.open import open_source
from nanoseg.types import Frame
from tests.fakes.segmenter import FakeSegmenter, nut_in_upper_left
from tests.helpers.videos import av, levels, write_video

MS = Fraction(1, 1000)


def read(path):
    """Return a source and its frames, and check that nothing is told about it."""
    source = open_source(path)
    frames = list(source)
    assert (source.report.damaged, source.report.notes) == (0, [])
    return source, frames


def times_ms(frames):
    return [round(frame.media_ns / 1e6) for frame in frames]


@pytest.mark.parametrize(
    ("name", "count", "seconds"), [("bvfr.webm", 39, 3.7), ("bcut.mp4", 75, 3.0)], ids=["variable rate", "cut by copy"]
)
def test_times_of_whole_videos_that_were_called_damaged(case, name, count, seconds):
    _, frames = read(case(f"sources/03-false-damaged/{name}"))
    assert len(frames) == count
    assert (frames[-1].media_ns + frames[-1].duration_ns) / 1e9 == pytest.approx(seconds, abs=0.01)


VARIABLE = [0, 40, 80, 1000, 1040, 3000]


@pytest.mark.parametrize(
    ("name", "pts", "expected"),
    [
        ("a.mkv", VARIABLE, VARIABLE),
        ("a.mp4", VARIABLE, VARIABLE),
        ("a.webm", VARIABLE, VARIABLE),
        ("a.mkv", [-80, -40, 0, 40], [0, 40, 80, 120]),
        ("a.mp4", [5000, 5040, 5080], [0, 40, 80]),  # begins late, by an edit list
        ("a.mkv", [5000, 5040, 5080], [0, 40, 80]),
    ],
)
def test_times_of_variable_rates(tmp_path, name, pts, expected):
    codec = "libvpx" if name == "a.webm" else "libx264"
    _, frames = read(write_video(tmp_path / name, levels(len(pts)), codec, pts=pts, time_base=MS))
    assert times_ms(frames) == expected


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "mpeg4"), ("a.ts", "mpeg2video")])
def test_times_with_longer_sound(tmp_path, name, codec):
    source, frames = read(write_video(tmp_path / name, levels(20), codec, sound_s=8))
    assert times_ms(frames) == [40 * i for i in range(20)]
    assert source.count >= 20


@pytest.mark.parametrize("copies", [2, 3])
def test_times_go_on_where_a_clock_is_set_back(tmp_path, copies):
    part = write_video(tmp_path / "a.ts", levels(10), "mpeg2video").read_bytes()
    (tmp_path / "joined.ts").write_bytes(part * copies)
    _, frames = read(tmp_path / "joined.ts")
    assert times_ms(frames) == [40 * i for i in range(10 * copies)]


def test_times_go_on_where_a_broadcasts_clock_jumps_ahead(tmp_path):
    pts = [*range(0, 200, 40), *range(7_200_000, 7_200_200, 40)]
    _, frames = read(_jumping(tmp_path / "a.ts", pts))
    assert times_ms(frames) == [40 * i for i in range(10)]


def _jumping(path, pts_ms):
    """Write a transport stream whose packets have these times."""
    plain = write_video(path.with_name("plain.ts"), levels(len(pts_ms)), "mpeg2video", options={"g": "1", "bf": "0"})
    with av.open(str(plain)) as source, av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg2video", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        packets = [packet for packet in source.demux(video=0) if packet.size]
        for packet, at_ms in zip(packets, pts_ms, strict=True):
            packet.stream, packet.time_base, packet.pts, packet.dts = stream, MS, at_ms, at_ms
            out.mux(packet)
    return path


def test_times_of_raw_streams_without_a_clock(tmp_path, case):
    path = write_video(tmp_path / "a.bin", levels(12), container="h264")
    for each, count in ((path, 12), (case("sources/19-video-suffixes/clip.h264"), 50)):
        _, frames = read(each)
        assert times_ms(frames) == [40 * i for i in range(count)]


@pytest.mark.parametrize(
    ("pts", "rate"),
    [(VARIABLE, 25), ([0, 100, 200, 300, 400, 2400], 10), ([0, 33, 67, 100, 133, 167], 30), ([0, 7, 14, 3000], 25)],
)
@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_times_are_kept_in_what_is_written(tmp_path, name, pts, rate):
    source, frames = read(write_video(tmp_path / name, levels(len(pts)), pts=pts, time_base=MS, rate=rate))
    copy = tmp_path / "copy.mp4"
    with Video(copy, source.fps, video=source.video) as sink:
        for frame in frames:
            sink.write(frame, nut_in_upper_left(frame), frame.image)
    _, again = read(copy)
    assert times_ms(again) == pts
    with av.open(str(copy)) as written:
        end_s = (frames[-1].media_ns + frames[-1].duration_ns) / 1e9
        assert written.duration / av.time_base == pytest.approx(end_s, abs=0.002)


def test_times_of_what_is_written_never_run_back(tmp_path):
    times = [0, 40, 20, 20, 80]
    with Video(tmp_path / "a.mp4", 25) as sink:
        for index, (at_ms, image) in enumerate(zip(times, levels(5), strict=True)):
            frame = Frame(image, index, media_ns=at_ms * 1_000_000)
            sink.write(frame, nut_in_upper_left(frame), image)
    _, frames = read(tmp_path / "a.mp4")
    assert times_ms(frames) == [0, 40, 40, 40, 80]


def test_times_are_in_the_records(monkeypatch, call, tmp_path):
    monkeypatch.setattr(nanoseg, "load", lambda *_, **__: FakeSegmenter(nut_in_upper_left))
    path = write_video(tmp_path / "a.mkv", levels(6), pts=VARIABLE, time_base=MS)
    assert call("run", path, "--results", tmp_path / "r.jsonl")[0] == 0
    records = [read_record(line) for line in (tmp_path / "r.jsonl").read_bytes().splitlines()]
    assert [record.media_ns // 1_000_000 for record in records] == VARIABLE
    assert call("run", "parts://?size=64x48", "--limit", 1, "--results", tmp_path / "p.jsonl")[0] == 0
    assert read_record((tmp_path / "p.jsonl").read_bytes()).media_ns is None
