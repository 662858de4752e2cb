"""What a killed run left stays, whatever the next one writes."""

import os

import pytest

from nanoseg.sinks.earlier_part import keep_earlier_part, timed_path
from nanoseg.utils.locks import try_lock
from tests.sinks.frames import names

AT_S = 1_764_393_480  # 2025-11-29T05:18:00Z


@pytest.fixture
def left(tmp_path):
    """A file that a killed run left."""
    part = tmp_path / "door.1.part.mp4"
    part.write_bytes(b"frames")
    os.utime(part, (AT_S, AT_S))
    return part


def test_earlier_part_is_kept_by_its_time_and_never_overwritten(left, tmp_path):
    for number in ("", "-2", "-3"):
        line = keep_earlier_part(tmp_path / "door.1.mp4")
        kept = tmp_path / f"door.1-20251129T051800Z{number}.part.mp4"
        assert line == f"{left}: an earlier run was cut off; what it left is kept as {kept.name}"
        assert kept.read_bytes() == b"frames"
        left.write_bytes(b"frames")
        os.utime(left, (AT_S, AT_S))
    assert len(names(tmp_path)) == 4


def test_earlier_part_behind_a_link_stays_beside_what_it_leads_to(left, tmp_path):
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "video.mp4").symlink_to(tmp_path / "door.1.mp4")
    assert keep_earlier_part(tmp_path / "links" / "video.mp4")
    assert names(tmp_path) == ["door.1-20251129T051800Z.part.mp4", "links"]


@pytest.mark.parametrize("why", ["empty", "a source", "being written", "a folder", "absent", "a pipe"])
def test_earlier_part_that_is_none_stays(left, tmp_path, why):
    sources, lock, path = (), None, tmp_path / "door.1.mp4"
    if why == "a source":
        sources = (left,)
    elif why == "being written":
        lock = try_lock(left)
    elif why == "a pipe":
        os.mkfifo(path)
    elif why != "empty":
        left.unlink()
        if why == "a folder":
            left.mkdir()
    else:
        left.write_bytes(b"")
    before = names(tmp_path)
    assert keep_earlier_part(path, sources) == ""
    assert names(tmp_path) == before
    if lock is not None:
        os.close(lock)


def test_timed_path_is_new(tmp_path):
    taken = []
    for _ in range(3):
        taken.append(timed_path(tmp_path / "a.jsonl", AT_S + 0.9))
        taken[-1].touch()
    assert [path.name for path in taken] == [f"a-20251129T051800Z{number}.jsonl" for number in ("", "-2", "-3")]
