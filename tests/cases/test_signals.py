"""Signals, full disks and second runs: what a run leaves, as a process of its own."""

import fcntl
import os
import resource
import signal
import subprocess
import sys
import termios
import time
from contextlib import contextmanager

import pytest

from nanoseg.sinks.records import read_record
from nanoseg.utils import signals
from tests.helpers.paths import ROOT

cv2 = pytest.importorskip("cv2")
pytest.importorskip("supervision")
PARTS = "parts://?seed=3&size=64x48&objects=2"
FAKED = (
    "import time, nanoseg; from tests.fakes.segmenter import FakeSegmenter, nut_in_upper_left; "
    "nanoseg.load = lambda *_, **__: FakeSegmenter(lambda frame: (time.sleep(0.01), nut_in_upper_left(frame))[1])\n"
)
MAIN = "from nanoseg.cli import main; main()"
# The renaming at the end takes a second, and says that it has begun.
SLOW_END = (
    "from nanoseg.sinks import growing_file\n"
    "import sys\n"
    "rename = growing_file.move_into_place\n"
    "def slowly(*args): print('closing', flush=True); time.sleep(1); rename(*args)\n"
    "growing_file.move_into_place = slowly\n"
)
TERM, HUP, INT = signal.SIGTERM, signal.SIGHUP, signal.SIGINT


@contextmanager
def start(*arguments, code=FAKED, **options):
    process = subprocess.Popen(
        [sys.executable, "-c", code + MAIN, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )
    try:
        with process:
            try:
                yield process
            except BaseException:
                process.kill()
                raise
    finally:
        process.kill()


def wait_until(condition, process=None):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None, process.stderr.read()
        time.sleep(0.02)


def has_lines(path):
    return lambda: path.exists() and path.stat().st_size > 0


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def frames_of(video):
    return int(cv2.VideoCapture(str(video)).get(cv2.CAP_PROP_FRAME_COUNT))


@pytest.mark.parametrize(("number", "code"), [(TERM, 143), (HUP, 129), (INT, 130)])
def test_signals_close_the_video_and_the_results(tmp_path, number, code):
    with start("run", PARTS, "--out", tmp_path, "--results", tmp_path / "r.jsonl") as process:
        wait_until(has_lines(tmp_path / "r.part.jsonl"), process)
        time.sleep(0.1)
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (code, b"")
    assert out.startswith(b"interrupted after ")
    assert names(tmp_path) == ["parts.mp4", "r.jsonl"]
    lines = (tmp_path / "r.jsonl").read_bytes().splitlines()
    assert [read_record(line).frame for line in lines] == list(range(len(lines)))
    assert frames_of(tmp_path / "parts.mp4") == len(lines) == int(out.split()[2])


@pytest.mark.parametrize(
    ("first", "then", "code"), [(TERM, [TERM], 143), (TERM, [HUP, INT, TERM], 143), (INT, [INT, INT], 130)]
)
def test_signals_while_the_files_are_closed(tmp_path, first, then, code):
    with start("run", PARTS, "--out", tmp_path, "--results", tmp_path / "r.jsonl", code=FAKED + SLOW_END) as process:
        wait_until(has_lines(tmp_path / "r.part.jsonl"), process)
        process.send_signal(first)
        for number in then:
            assert process.stdout.readline() == b"closing\n" if number is then[0] else True
            process.send_signal(number)
        process.communicate(timeout=20)
    assert process.returncode == code
    assert names(tmp_path) == ["parts.mp4", "r.jsonl"]
    assert frames_of(tmp_path / "parts.mp4") > 0


def test_signals_first_one_comes_after_the_last_frame(tmp_path):
    arguments = ("run", PARTS, "--limit", 3, "--out", tmp_path, "--results", tmp_path / "r.jsonl")
    with start(*arguments, code=FAKED + SLOW_END) as process:
        assert process.stdout.readline() == b"closing\n"
        process.send_signal(TERM)
        process.communicate(timeout=20)
    assert process.returncode == 143
    assert names(tmp_path) == ["parts.mp4", "r.jsonl"]
    assert frames_of(tmp_path / "parts.mp4") == 3


def test_signals_that_are_ignored_stay_ignored(tmp_path):
    def nohup():
        signal.signal(HUP, signal.SIG_IGN)
        signal.signal(INT, signal.SIG_IGN)

    with start("run", PARTS, "--limit", 30, "--results", tmp_path / "r.jsonl", preexec_fn=nohup) as process:
        wait_until(has_lines(tmp_path / "r.part.jsonl"), process)
        process.send_signal(HUP)
        process.send_signal(INT)
        out, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert out.startswith(b"30 frames")


@pytest.mark.parametrize("number", [TERM, HUP])
def test_signals_while_a_pipe_has_no_reader(tmp_path, number):
    os.mkfifo(tmp_path / "pipe")
    code = FAKED + "from nanoseg.sinks import json_lines\nwait = json_lines.JsonLines.__enter__\n"
    code += "json_lines.JsonLines.__enter__ = lambda self: print('here', flush=True) or wait(self)\n"
    with start("run", PARTS, "--results", tmp_path / "pipe", "--out", tmp_path / "out", code=code) as process:
        assert process.stdout.readline() == b"here\n"
        time.sleep(0.2)
        process.send_signal(number)
        process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert names(tmp_path) == ["pipe"]


def test_signals_while_a_pipe_is_full(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with start("run", PARTS, "--results", tmp_path / "pipe", "--out", tmp_path / "out") as process:
        reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
        fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
        wait_until(lambda: fcntl.ioctl(reader, termios.FIONREAD, b"1234")[1] >= 12, process)  # 3,072 of 4,096 bytes
        time.sleep(0.2)
        process.send_signal(TERM)
        process.communicate(timeout=20)
        os.close(reader)
    assert process.returncode == 143
    assert names(tmp_path / "out") == ["parts.mp4"]
    assert frames_of(tmp_path / "out" / "parts.mp4") > 0


WAITING = (
    "import time, nanoseg\ndef wait(*_, **__):\n    print('here', flush=True); time.sleep(60)\nnanoseg.load = wait\n"
)


@pytest.mark.parametrize("verb", ["run", "demo"])
@pytest.mark.parametrize("number", [TERM, HUP])
def test_signals_while_the_bundle_is_loaded(tmp_path, verb, number):
    arguments = (verb, PARTS, "--out", tmp_path / "out")
    with start(*arguments, code=WAITING) as process:
        assert process.stdout.readline() == b"here\n"
        process.send_signal(number)
        err = process.communicate(timeout=20)[1]
    assert (process.returncode, err.count(b"\n")) == (128 + number, int(verb == "demo"))
    assert names(tmp_path) == []


def receive(*numbers, error=None):
    done = []
    with signals.uninterrupted():
        for number in numbers:
            signal.raise_signal(number)
            done.append(number)
        assert done == list(numbers)
        if error is not None:
            raise error


def test_signals_are_those_of_the_caller_again():
    before = [signal.getsignal(number) for number in signals.ENDING]
    with signals.handle_ending_signals() as ending:
        assert signal.getsignal(TERM) == ending.handle
        with pytest.raises(KeyboardInterrupt):
            receive(TERM, HUP)
        assert ending.received == TERM
    assert [signal.getsignal(number) for number in signals.ENDING] == before
    with signals.uninterrupted():  # nothing in a program that is not the command line
        assert signal.getsignal(TERM) == before[1]


def test_signals_an_error_goes_before_a_signal():
    with signals.handle_ending_signals(), pytest.raises(ValueError, match="disk"):
        receive(TERM, error=ValueError("disk"))


def test_signals_late_one_ends_a_closing_that_hangs(monkeypatch):
    with signals.handle_ending_signals():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(INT)
        signal.raise_signal(TERM)
        monkeypatch.setattr(signals, "CLOSING_S", 0.0)
        with pytest.raises(KeyboardInterrupt), signals.uninterrupted():
            signal.raise_signal(TERM)


@pytest.mark.parametrize(("limit", "video"), [(3000, True), (20000, False), (30000, True)])
def test_disk_full_keeps_complete_lines(tmp_path, limit, video):
    def small_files():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    out = ("--out", tmp_path) if video else ()
    source = "parts://?seed=3&size=320x240&objects=6"
    with start("run", source, *out, "--results", tmp_path / "r.jsonl", preexec_fn=small_files) as process:
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err.count(b"\n")) == (2, b"", 1)
    assert b"cannot be written" in err
    for path in tmp_path.iterdir():
        assert str(path).encode() in err
        if path.suffix == ".jsonl":
            lines = path.read_bytes().splitlines(keepends=True)
            assert lines
            assert all(line.endswith(b"\n") and read_record(line) for line in lines)
        else:
            assert frames_of(path) > 0
