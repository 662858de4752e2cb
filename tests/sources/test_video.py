"""Video files: what is read, and the message for each that is not."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from nanoseg.errors import SourceError
from nanoseg.sources import video
from nanoseg.sources.open import open_source
from tests.sources.encoded_images import encoded

cv2 = pytest.importorskip("cv2")


@pytest.fixture(scope="module")
def mjpeg(tmp_path_factory):
    """Twenty frames in an AVI file, each of one brightness, and noise so that the file is mostly frames."""
    path = tmp_path_factory.mktemp("video") / "clip.avi"
    rng = np.random.default_rng(0)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 12.5, (64, 48))
    for level in range(0, 200, 10):
        writer.write(rng.integers(level, level + 50, (48, 64, 3), dtype=np.uint8))
    writer.release()
    return path


def test_video_frames(mjpeg):
    source = open_source(mjpeg)
    assert (source.count, source.fps) == (20, 12.5)
    levels = [(frame.index, round((frame.image.mean() - 25) / 10), frame.name) for frame in source]
    assert levels == [(i, i, str(mjpeg)) for i in range(20)]


def test_video_name_with_a_colon(tmp_path, mjpeg, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "line:1.avi").write_bytes(mjpeg.read_bytes())
    source = open_source("line:1.avi")
    assert len(list(source)) == 20
    assert source.paths == (Path("line:1.avi"),)


def test_video_suffix_of_an_image(tmp_path):
    (tmp_path / "a.mp4").write_bytes(encoded(".png"))
    assert open_source(tmp_path / "a.mp4").count == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"\x00\x00\x00\x18ftypmp42 and nothing more", "cannot be opened as a video"),
    ],
)
def test_video_that_cannot_be_opened(tmp_path, capfd, data, message):
    (tmp_path / "a.mp4").write_bytes(data)
    with pytest.raises(SourceError, match=message):
        list(open_source(tmp_path / "a.mp4"))
    assert capfd.readouterr() == ("", "")


def test_video_truncated(tmp_path, mjpeg):
    (tmp_path / "cut.avi").write_bytes(mjpeg.read_bytes()[: mjpeg.stat().st_size // 2])
    source = open_source(tmp_path / "cut.avi")
    assert 8 <= len(list(source)) <= 12
    assert "cut.avi: the file ends early" in source.report.notes[0]
    frames = list(itertools.islice(open_source(tmp_path / "cut.avi"), 5))
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]


def test_video_max_pixels(mjpeg):
    with pytest.raises(SourceError, match="64 x 48 pixels are more than the limit of 3071"):
        video.open_video(mjpeg, 3071)
    assert video.open_video(mjpeg, 3072).count == 20


def test_video_text_is_not_played(tmp_path):
    (tmp_path / "a.txt").write_text("FFmpeg has a player for this\n" * 100)
    with pytest.raises(SourceError, match="wanted a picture or a video, got a file that begins b'FFmpeg h'"):
        list(open_source(tmp_path / "a.txt"))
