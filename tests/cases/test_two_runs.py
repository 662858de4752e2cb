"""Two runs with one output: the second is told in one line, and the first is whole."""

import fcntl
import os

import pytest

from nanoseg.sinks.growing_file import GrowingFile
from nanoseg.sinks.images import ImageFolder
from tests.cases.test_signals import FAKED, PARTS, frames_of, has_lines, names, start, wait_until

cv2 = pytest.importorskip("cv2")
pytest.importorskip("supervision")


@pytest.mark.parametrize("flags", [("--results", "{}/r.jsonl"), ("--out", "{}"), ("--out", "{}/parts.mp4")])
def test_two_runs_second_is_refused(tmp_path, flags, oracle, call):
    results = [flag.format(tmp_path) for flag in flags]
    first = ("run", PARTS, "--limit", 50, "--out", tmp_path, "--results", tmp_path / "r.jsonl")
    with start(*first) as process:
        wait_until(has_lines(tmp_path / "r.part.jsonl"), process)
        code, out, err = call("run", PARTS, *results)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert f"another run (process {process.pid}) is writing to it; wait until that has ended; give another" in err
        process.communicate(timeout=30)
    assert process.returncode == 0
    assert names(tmp_path) == ["parts.mp4", "r.jsonl"]
    assert frames_of(tmp_path / "parts.mp4") == (tmp_path / "r.jsonl").read_bytes().count(b"\n") == 50


def test_two_runs_into_a_folder_of_images(tmp_path, photos, oracle, call):
    with ImageFolder(tmp_path / "out"):
        code, _, err = call("run", photos, "--out", tmp_path / "out")
        assert (code, err.count("\n")) == (2, 1)
        assert "give another --out" in err
    assert call("run", photos, "--out", tmp_path / "out")[0] == 0
    assert names(tmp_path / "out") == ["a.png", "b.jpg", "c.png"]


def test_two_runs_of_the_demo(tmp_path, oracle, call):
    first = ("demo", PARTS, "--limit", 3000, "--out", tmp_path)
    with start(*first, code=FAKED) as process:
        wait_until(has_lines(tmp_path / "results.part.jsonl"), process)
        code, _, err = call("demo", PARTS, "--out", tmp_path)
        assert (code, err.count("\n")) == (2, 1)
        assert f"process {process.pid}" in err
        process.kill()
        process.communicate(timeout=30)
    # A killed run leaves its temporary files, and no lock.
    assert call("demo", PARTS, "--out", tmp_path, "--limit", 2)[0] == 0
    assert names(tmp_path) == ["annotated.mp4", "contact-sheet.png", "report.json", "results.jsonl"]


def test_two_outputs_of_one_run(tmp_path, photos, oracle, call):
    same = tmp_path / "out.png"
    code, _, err = call("run", photos / "a.png", "--out", same, "--results", same)
    assert (code, err.count("\n")) == (2, 1)
    assert "is already an output of this run" in err
    assert names(tmp_path) == ["photos"]


@pytest.mark.parametrize("results", ["-", "/dev/null"])
def test_two_runs_share_streams_and_devices(photos, oracle, call, results):
    with open("/dev/null", "rb") as device:
        fcntl.flock(device, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert call("run", photos, "--results", results)[0] == 0


def test_two_runs_file_system_without_locks(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    file = GrowingFile(tmp_path / "r.jsonl")
    file.part.write_bytes(b"{}\n")
    file.end(None, usable=True)
    assert names(tmp_path) == ["r.jsonl"]


def test_two_runs_the_first_ends_while_the_second_opens(tmp_path, monkeypatch):
    first = GrowingFile(tmp_path / "r.jsonl")
    first.part.write_bytes(b"first\n")
    flock = fcntl.flock

    def end_first(*args):
        monkeypatch.setattr(fcntl, "flock", flock)
        first.end(None, usable=True)
        flock(*args)

    monkeypatch.setattr(fcntl, "flock", end_first)
    second = GrowingFile(tmp_path / "r.jsonl")
    assert (tmp_path / "r.jsonl").read_bytes() == b"first\n"
    assert os.path.samefile(second.part, tmp_path / "r.part.jsonl")
    second.end(None, usable=False)
    assert names(tmp_path) == ["r.jsonl"]
