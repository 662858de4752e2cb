"""A video without end on a disk that is full at any moment: what is kept plays, and a cut file never looks complete."""

import errno
import io
import os

import numpy as np
import pytest

from nanoseg.errors import UsageError
from nanoseg.sinks.growing_file import GrowingFile
from nanoseg.sinks.rotation import Rotating, Rotation
from nanoseg.types import Frame
from tests.fakes.segmenter import detections
from tests.sinks.frames import names

av = pytest.importorskip("av")

from nanoseg.sinks.live_video import LiveVideo  # noqa: E402

FRAMES, EVERY_NS = 90, 100_000_000  # nine seconds: pieces of two seconds each
START_NS = 1_764_393_480 * 10**9  # 2025-11-29T05:18:00Z
FOUND = detections((48, 64))


@pytest.fixture
def disk(monkeypatch):
    """A disk whose free bytes a test sets."""
    free = {"bytes": 0}

    class Full(io.FileIO):
        def write(self, data):
            if self.tell() + len(data) > free["bytes"]:
                super().write(bytes(data)[: max(0, free["bytes"] - self.tell())])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(data)

    monkeypatch.setattr(GrowingFile, "open", lambda file: Full(file.part, "wb"))
    return free


def write(sink):
    rng = np.random.default_rng(0)
    with sink:
        for index in range(FRAMES):
            image = rng.integers(0, 255, (48, 64, 3), np.uint8)
            sink.write(Frame(image, index, START_NS + index * EVERY_NS, "door"), FOUND, image)


def count(path):
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.3, 0.6, 0.9, 0.99, 0.9999, 1.0])
def test_pieces_play_to_the_last_whole_one(disk, tmp_path, suffix, share):
    disk["bytes"] = 1 << 30
    write(LiveVideo(tmp_path / f"all.{suffix}"))
    disk["bytes"] = int(share * (tmp_path / f"all.{suffix}").stat().st_size)
    (tmp_path / f"all.{suffix}").unlink()
    video = LiveVideo(tmp_path / f"a.{suffix}")
    if share == 1.0:
        write(video)
        assert (names(tmp_path), count(tmp_path / f"a.{suffix}")) == ([f"a.{suffix}"], FRAMES)
        return
    with pytest.raises(UsageError, match=rf"a\.{suffix}: the video cannot be written: No space left on device$"):
        write(video)
    if video.kept is None:
        assert (names(tmp_path), share < 0.6) == ([], True)
    else:
        assert names(tmp_path) == [f"a.part.{suffix}"] == [video.kept.name]
        assert share * FRAMES - 65 < count(video.kept) < FRAMES


def test_pieces_of_a_part_that_is_cut_keep_its_temporary_name(disk, tmp_path):
    disk["bytes"] = 1 << 30
    write(LiveVideo(tmp_path / "all.mp4"))
    disk["bytes"] = int(0.9 * (tmp_path / "all.mp4").stat().st_size)
    (tmp_path / "all.mp4").unlink()
    sink = Rotating(tmp_path / "a.mp4", Rotation(seconds=8.9), LiveVideo)  # full while the part is completed
    with pytest.raises(UsageError, match="No space left"):
        write(sink)
    assert names(tmp_path) == ["a-20251129T051800Z.part.mp4", "a-20251129T051808Z.mp4"]
    assert sink.kept == tmp_path / "a-20251129T051800Z.part.mp4"
    assert 0 < count(sink.kept) < FRAMES
