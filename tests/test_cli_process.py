"""The command line as a process of its own: what it imports, a reader that leaves, a real Ctrl-C."""

import os
import signal
import subprocess
import sys
import time

import pytest

from nanoseg.sinks.records import read_record
from tests.helpers.paths import ROOT

cv2 = pytest.importorskip("cv2")
PARTS = "parts://?seed=3&size=64x48&objects=2"


def command(*arguments, code="from nanoseg.cli import main; main()", **options):
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )


def test_process_help_is_light():
    code = (
        "import sys; from nanoseg.cli import run_command; run_command(['--help']); "
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    out, err = command(code=code).communicate()
    loaded = out.decode().splitlines()[-1].split()
    assert not {"cv2", "onnx", "onnxruntime", "supervision", "pycocotools", "torch"} & set(loaded), err


FAKED = (
    "import time, nanoseg; from tests.fakes.segmenter import FakeSegmenter, nut_in_upper_left; "
    "nanoseg.load = lambda *_, **__: FakeSegmenter(lambda frame: (time.sleep(0.01), nut_in_upper_left(frame))[1]); "
    "from nanoseg.cli import main; main()"
)


@pytest.mark.parametrize(
    ("library", "arguments", "extra"),
    [
        ("cv2", ["demo"], "opencv"),
        ("cv2", ["run", PARTS], "opencv"),
        ("cv2", ["run", "README.md"], "opencv"),
        ("supervision", ["run", PARTS, "--out", "{}"], "draw"),
    ],
)
def test_process_missing_library_is_exit_code_6(tmp_path, library, arguments, extra):
    code = f"import sys; sys.modules[{library!r}] = None; {FAKED}"
    with command(*(one.format(tmp_path) for one in arguments), code=code) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (6, b"")
    assert err.decode().endswith(f'is not installed: pip install "nanoseg[{extra}]"\n')
    assert err.count(b"\n") == 1


def test_process_is_silent_when_its_reader_leaves():
    with command("run", PARTS, "--results", "-", code=FAKED) as process:
        assert read_record(process.stdout.readline()).frame == 0
        process.stdout.close()
        assert process.wait(60) in (1, 141)
        assert process.stderr.read() == b""


def test_process_prints_names_that_the_terminal_cannot_encode(tmp_path):
    from tests.data.fill_weights import image_u8

    cv2.imwrite(str(tmp_path / "schräg.png"), image_u8(1, 48, 64))
    with command("run", str(tmp_path), code=FAKED, env={**os.environ, "PYTHONIOENCODING": "ascii"}) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")
    assert out.startswith(b"frame 0  schr\\xe4g.png  1 object")


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_process_ends_cleanly_on_a_signal(tmp_path, number, code):
    results = tmp_path / "r.jsonl"
    with command("run", PARTS, "--results", str(results), code=FAKED) as process:
        part = tmp_path / "r.part.jsonl"
        deadline = time.monotonic() + 60
        while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (code, b"")
    assert out.startswith(b"interrupted after ")
    lines = results.read_bytes().splitlines()
    assert [read_record(line).frame for line in lines] == list(range(len(lines)))


WAITING = (
    "import time; import nanoseg.commands.info, nanoseg.doctor.report, nanoseg.commands.run\n"
    "from nanoseg.cli import main\n"
    "def wait(*_, **__):\n    print('here', flush=True); time.sleep(60)\n"
    "nanoseg.commands.info.open_bundle = nanoseg.doctor.report.read_state = nanoseg.commands.run.open_sources = wait\n"
    "main()"
)


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
@pytest.mark.parametrize(
    ("arguments", "number", "code"),
    [
        (["info", "parts"], signal.SIGINT, 130),
        (["doctor"], signal.SIGTERM, 143),
        (["run", PARTS], signal.SIGINT, 130),
        (["run", PARTS], signal.SIGTERM, 143),
    ],
)
def test_process_ends_on_a_signal_before_there_is_a_result(arguments, number, code):
    with command(*arguments, code=WAITING) as process:
        assert process.stdout.readline() == b"here\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (code, b"", b"nanoseg: interrupted\n")
