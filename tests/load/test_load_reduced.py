"""`nanoseg.load` on a bundle in INT8 and FP16, on a CPU."""

import os
import subprocess
import sys

import numpy as np
import pytest

import nanoseg
from tests.conftest import ROOT
from tests.data.fill_weights import image_u8

pytest.importorskip("onnxruntime", reason="needs nanoseg[cpu]")
pytest.importorskip("onnx", reason="needs nanoseg[bundle]")


@pytest.fixture(scope="module")
def reduced(tmp_path_factory):
    from tests.helpers.tiny_bundles import reduced_and_float

    return reduced_and_float(tmp_path_factory.mktemp("reduced"))


def test_load_cpu_runs_a_reduced_bundle_as_the_float32_one(reduced, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    deployed, floats = reduced
    assert [deployed.graphs[name].precision for name in ("detect", "embed")] == ["int8", "fp16"]
    image = image_u8(3, 48, 80)
    answers = []
    for opened in (deployed, floats):
        with nanoseg.load(opened.path, "onnxruntime", confidence=0.1) as segmenter:
            answers.append(segmenter(image))
    one, other = answers
    assert len(one) == len(other) > 5
    np.testing.assert_array_equal(one.class_id, other.class_id)
    np.testing.assert_allclose(one.xyxy, other.xyxy, atol=0.05)
    np.testing.assert_allclose(one.confidence, other.confidence, atol=2e-3)
    np.testing.assert_allclose(one.masks.logits, other.masks.logits, atol=0.02 * np.abs(other.masks.logits).max())
    assert len(list(tmp_path.glob("nanoseg/cpu/1/*.onnx"))) == 2


LOADED = """
import sys
import nanoseg
from nanoseg.cli import run_command
from tests.data.fill_weights import image_u8

print("onnx" in sys.modules)
with nanoseg.load(sys.argv[1], "onnxruntime") as segmenter:
    segmenter(image_u8(1, 48, 80))
print("onnx" in sys.modules)
assert run_command(["run", "parts://?seed=1", "--bundle", sys.argv[1], "--limit", "1", "--results", "-"]) == 0
print("onnx" in sys.modules)
"""


def test_load_onnx_is_loaded_only_where_a_graph_has_to_be_made(reduced, tmp_path):
    """Not for a float32 bundle, and for a reduced one the first time alone."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}

    def loaded(opened):
        command = [sys.executable, "-c", LOADED, str(opened.path)]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        return [line for line in done.stdout.splitlines() if line in ("True", "False")]

    deployed, floats = reduced
    assert loaded(floats) == ["False"] * 3
    assert loaded(deployed) == ["False", "True", "True"]
    assert loaded(deployed) == ["False"] * 3
