"""Damaged videos: read as far as they go, past the damage, and told in one line; what cannot be read at all."""

import errno
import io
import os
from contextlib import suppress

import numpy as np
import pytest

import nanoseg
from nanoseg.errors import SourceError
from nanoseg.sources import video_file
from nanoseg.sources.open import open_source
from tests.fakes.segmenter import FakeSegmenter, nut_in_upper_left
from tests.helpers.videos import av, write_video

FASTSTART = {"movflags": "faststart"}


def noise(count, size_wh=(64, 48)):
    """Return frames of noise, so that a file is mostly frames."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (size_wh[1], size_wh[0], 3), dtype=np.uint8) for _ in range(count)]


KINDS = [
    ("a.mp4", "libx264", "yuv420p"),
    ("a.mkv", "libx264", "yuv420p"),
    ("a.webm", "libvpx-vp9", "yuv420p"),
    ("a.avi", "mpeg4", "yuv420p"),
    ("a.mov", "mjpeg", "yuvj420p"),
    ("a.ts", "mpeg2video", "yuv420p"),
    ("a.flv", "flv", "yuv420p"),
    ("a.gif", "gif", "rgb8"),
]


def made(tmp_path, name, codec, pix_fmt, count=50):
    options = FASTSTART if name.endswith((".mp4", ".mov")) else {}
    path = write_video(tmp_path / name, noise(count), codec, pix_fmt=pix_fmt, container_options=options)
    return path, path.read_bytes()


@pytest.mark.parametrize(("name", "codec", "pix_fmt"), KINDS)
def test_damage_truncated(tmp_path, name, codec, pix_fmt):
    path, data = made(tmp_path, name, codec, pix_fmt)
    assert len(list(open_source(path))) == 50
    path.write_bytes(data[: int(len(data) * 0.61)])
    source = open_source(path)
    frames = list(source)
    assert 20 <= len(frames) < 40
    assert [frame.index for frame in frames] == list(range(len(frames)))
    told = "damaged: " if name == "a.flv" else "the file ends early: "
    assert source.report.notes[0].startswith(f"{path}: {told}")


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"), [kind for kind in KINDS if kind[0] not in ("a.webm", "a.flv", "a.gif")]
)
def test_damage_in_the_middle_is_read_past(tmp_path, name, codec, pix_fmt):
    path, data = made(tmp_path, name, codec, pix_fmt)
    start, length = len(data) // 2, len(data) // 20
    path.write_bytes(data[:start] + bytes(length) + data[start + length :])
    source = open_source(path)
    frames = list(source)
    if name == "a.mkv":  # FFmpeg finds no cluster behind the damage
        assert source.report.notes[0].startswith(f"{path}: the file ends early: ")
        return
    assert len(frames) > 40
    assert source.report.damaged > 0
    assert source.report.notes[-1].startswith(f"{path}: damaged: {source.report.damaged} frame")


def test_damage_by_single_bits(tmp_path):
    rng = np.random.default_rng(1)
    for name, codec, pix_fmt in KINDS:
        path, data = made(tmp_path, name, codec, pix_fmt, 20)
        for _ in range(5):
            rotten = bytearray(data)
            for at in rng.integers(200, len(data), 8):
                rotten[at] ^= 1 << int(rng.integers(8))
            path.write_bytes(rotten)
            with suppress(SourceError):
                assert all(frame.image.dtype == np.uint8 for frame in open_source(path))


def test_damage_is_one_line_and_exit_code_0(tmp_path, monkeypatch, call):
    monkeypatch.setattr(nanoseg, "load", lambda *_, **__: FakeSegmenter(nut_in_upper_left))
    path, data = made(tmp_path, "a.ts", "mpeg2video", "yuv420p")
    path.write_bytes(data[:20_000] + bytes(2_000) + data[22_000:])
    code, out, err = call("run", path, "--json")
    assert code == 0
    assert f'"damaged": {err.split("damaged: ")[1].split()[0]}' in out
    assert err.startswith(f"nanoseg: {path}: damaged: ")
    assert err.count("\n") == 1


def test_damage_of_the_disk_is_an_error_after_the_frames_before(tmp_path, monkeypatch, capfd):
    path, data = made(tmp_path, "a.mkv", "libx264", "yuv420p")

    def read(self, size, whole=video_file._File.read):
        if self.tell() > len(data) // 2:
            self.error = OSError(errno.EIO, os.strerror(errno.EIO))
            return b""
        return whole(self, size)

    monkeypatch.setattr(video_file._File, "read", read)
    frames = []
    source = open_source(path)
    with pytest.raises(SourceError, match=r"a\.mkv: cannot be read: Input/output error"):
        frames.extend(source)
    assert 10 < len(frames) < 50
    assert (source.report.damaged, capfd.readouterr()) == (0, ("", ""))


@pytest.mark.parametrize("error", [OSError(errno.EIO, os.strerror(errno.EIO)), KeyboardInterrupt()])
def test_damage_that_one_read_meets_ends_the_video(tmp_path, monkeypatch, error):
    path, data = made(tmp_path, "a.mkv", "libx264", "yuv420p")
    met = []

    class FailsOnce(io.BytesIO):
        def read(self, size=-1):
            if met or self.tell() > len(data) // 2:
                met.append(size)
            if len(met) == 1:
                raise error
            return super().read(size)

    monkeypatch.setattr(video_file, "open_regular", lambda _: FailsOnce(data))
    frames = []
    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else SourceError):
        frames.extend(open_source(path))
    assert 10 < len(frames) < 50
    assert len(met) == 1  # nothing is read after it


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"\x00\x00\x00\x18ftypmp42 and nothing more", "cannot be opened as a video; it is damaged, cut short"),
        (b"\x1a\x45\xdf\xa3" + bytes(500), "cannot be opened as a video; it is damaged"),
        (b"RIFF\x10\x00\x00\x00AVI LIST", "cannot be opened as a video; it is damaged"),
        (bytes(100_000), "wanted a picture or a video, got a file that begins"),
        (b"G" * 1000, "wanted a picture or a video, got a file that begins|no video in it|cannot be opened"),
    ],
)
def test_damage_beyond_reading(tmp_path, capfd, content, message):
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(SourceError, match=message):
        list(open_source(tmp_path / "a.mp4"))
    assert capfd.readouterr() == ("", "")


def test_damage_of_all_frames(tmp_path):
    path, data = made(tmp_path, "a.mp4", "libx264", "yuv420p", 5)
    at = data.index(b"mdat") + 4
    path.write_bytes(data[:at] + bytes(len(data) - at))
    with pytest.raises(SourceError, match=r"has no frame that can be decoded \(h264\)"):
        list(open_source(path))


def test_damage_none_in_a_sparse_giant(tmp_path):
    with (tmp_path / "a.mp4").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(SourceError, match="wanted a picture or a video"):
        open_source(tmp_path / "a.mp4")


def test_damage_size_is_checked_on_each_frame(tmp_path):
    small, large = (
        write_video(tmp_path / f"{width}.h264", noise(5, (width, 96)), options={"qp": "30"}) for width in (128, 640)
    )
    (tmp_path / "both.h264").write_bytes(small.read_bytes() + large.read_bytes())
    assert {frame.size_hw for frame in open_source(tmp_path / "both.h264")} == {(96, 128), (96, 640)}
    frames = []
    with pytest.raises(
        SourceError, match="640 x 96 pixels are more than the limit of 20000; raise it with --max-pixels"
    ):
        frames.extend(open_source(tmp_path / "both.h264", max_pixels=20_000))
    assert {frame.size_hw for frame in frames} == {(96, 128)}
    assert av.logging.get_level() is None
