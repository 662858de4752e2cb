"""ONNX Runtime's telemetry: no device id in the user's cache and no look-up, unless the user wants it."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.helpers.paths import ROOT

pytest.importorskip("onnxruntime")

ENTRIES = {
    "load": "import nanoseg, numpy; s = nanoseg.load('parts'); s(numpy.zeros((64, 64, 3), 'uint8')); s.close()",
    "command": "import sys; sys.argv = ['nanoseg', 'info', 'parts']; import nanoseg.cli; nanoseg.cli.main()",
    "graphs": "import nanoseg.onnx_graphs.model.run; import onnxruntime as o; o.InferenceSession(__import__('glob')"
    ".glob('nanoseg/bundles/parts/embed.onnx')[0], providers=['CPUExecutionProvider'])",
}


def run(tmp_path, code, setting=None, trace=None):
    """Run code in a new home; returns what was written there besides nanoseg's own cache."""
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "home" / "cache")}
    environment |= {} if setting is None else {"ORT_DISABLE_TELEMETRY": setting}
    (tmp_path / "home").mkdir()
    command = [sys.executable, "-c", code]
    if trace is not None:
        command = ["strace", "-f", "-qq", "-e", "trace=network", "-o", str(trace), *command]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=120)
    written = {path.relative_to(tmp_path / "home") for path in (tmp_path / "home").rglob("*") if path.is_file()}
    return [str(path) for path in written if path.parts[:2] != ("cache", "nanoseg")]


@pytest.mark.parametrize("code", ENTRIES.values(), ids=ENTRIES)
def test_no_telemetry(tmp_path, code):
    assert run(tmp_path, code) == []


@pytest.mark.slow
def test_telemetry_that_the_user_wants(tmp_path):
    """Shows that the test above would notice: with 0 ONNX Runtime writes its device id."""
    written = run(tmp_path, ENTRIES["load"], setting="0")
    if not written:
        pytest.skip("this ONNX Runtime has no telemetry")
    assert any("onnxruntime" in path for path in written)


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_no_look_up(tmp_path):
    code = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close(); "  # shows that strace works here
    trace = tmp_path / "trace"
    try:
        assert run(tmp_path, code + ENTRIES["load"], trace=trace) == []
    except subprocess.CalledProcessError as error:
        pytest.skip(f"strace cannot trace here: {error.stderr[-80:]!r}")
    calls = [line for line in trace.read_text().splitlines() if "AF_INET" in line]
    assert len(calls) == 1, calls
