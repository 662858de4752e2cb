"""Annotated videos: played back, and what no codec can write."""

from pathlib import Path

import pytest

from nanoseg.errors import UsageError
from nanoseg.sinks.video import Video
from tests.fakes.segmenter import nut_in_upper_left
from tests.sinks.frames import frame, names, write_one

pytest.importorskip("av")
cv2 = pytest.importorskip("cv2")


def test_video_refused_by_the_codec(tmp_path):
    one = frame(0, size_hw=(2, 20_000))
    with pytest.raises(UsageError, match="the video cannot be written"), Video(tmp_path / "a.mp4", 25) as to:
        to.write(one, nut_in_upper_left(one), one.image)


def test_video_folder_with_a_colon(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_one(Video(Path("line:1") / "a.mp4", 25))
    assert names(tmp_path / "line:1") == ["a.mp4"]


@pytest.mark.parametrize(("size_hw", "fps"), [((48, 64), 25), ((47, 63), 12.5), ((48, 64), 30_000 / 1001)])
def test_video_can_be_played(tmp_path, size_hw, fps):
    path = tmp_path / "out" / "a.mp4"
    with Video(path, fps) as sink:
        for index in range(12):
            one = frame(index, "", size_hw, 20 * index)
            sink.write(one, nut_in_upper_left(one), one.image)
    assert names(path.parent) == ["a.mp4"]
    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(fps, rel=1e-3)
    levels = []
    while (read := capture.read())[0]:
        assert read[1].shape == (48, 64, 3)
        levels.append(round(read[1].mean() / 20))
    assert levels == list(range(12))


def test_video_without_frames(tmp_path):
    with Video(tmp_path / "a.mp4", 25):
        pass
    assert names(tmp_path) == []
