"""Signals that end a run of live sources, whatever these do: files are whole, and nothing is left behind."""

import os
import signal
import subprocess
import sys
import time
from urllib.parse import quote

import pytest

from nanoseg.sinks.records import read_record
from tests.helpers.paths import ROOT

av = pytest.importorskip("av")
pytest.importorskip("supervision")
pytest.importorskip("onnxruntime")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")]
PARTS = "parts://?seed=3&size=64x48&objects=2"
HANGS = f"faults://?source={quote(PARTS, safe='')}&kinds=hang&every=9s&for=8s"


def children(pid):
    return [int(process) for process in os.listdir("/proc") if process.isdigit() and _parent(process) == pid]


def _parent(process):
    try:
        with open(f"/proc/{process}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except OSError:
        return None


@pytest.mark.parametrize(
    ("sources", "frames"),
    [((PARTS,), 5), ((PARTS, "/dev/video97"), 5), (("/dev/video97",), 0), ((HANGS,), 1)],
    ids=["live", "live and away", "away", "hanging"],
)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_run_live_ends_on_a_signal(tmp_path, sources, frames, number, code):
    results = tmp_path / "r.jsonl"
    words = ["run", *sources, "--live", "--out", str(tmp_path / "out"), "--results", str(results)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-m", "nanoseg", *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    )
    try:
        part, give_up_s = tmp_path / "r.part.jsonl", time.monotonic() + 120
        while not part.exists() or part.read_bytes().count(b"\n") < frames:
            assert time.monotonic() < give_up_s
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
        captures = children(process.pid)
        assert len(captures) == len(sources)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == code, err
    assert out.startswith(b"interrupted after ")
    assert not [pid for pid in captures if os.path.exists(f"/proc/{pid}/exe") and _parent(pid) != 1]
    if frames:
        written = [read_record(line) for line in results.read_bytes().splitlines()]
        assert len(written) >= frames
        with av.open(str(tmp_path / "out" / "parts.mp4")) as container:
            assert sum(1 for _ in container.decode(video=0)) == len(written)
    assert not list(tmp_path.rglob("*.part.*"))
