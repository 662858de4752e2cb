"""benchmarks/host_cost.py: it measures what it says, on the stub driver."""

import json
import subprocess
import sys

import pytest

from nanoseg.errors import DependencyError
from stub_driver import ROOT, build_stub, environment


def test_host_cost_counts_the_calls_of_a_frame(tmp_path):
    try:
        build_stub(tmp_path)
        environment(tmp_path, 12)
    except DependencyError as error:
        pytest.skip(str(error))
    command = [sys.executable, "-W", "error", ROOT / "benchmarks" / "host_cost.py", "--rounds", "3", "--objects", "3"]
    done = subprocess.run([*command, "--json", tmp_path / "report.json"], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())["figures"]
    assert list(report) == ["single", "stream", "prepare", "detect", "embed", "segment", "copy", "calls"]
    # prepare, detect, embed, segment; copies of embedding, prompts and masks, and of a frame that is not mapped.
    assert report["calls"]["launch"] == 4
    assert report["calls"]["copy"] in (3, 4)
    assert report["stream"] > report["copy"] > 0
