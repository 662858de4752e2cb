"""docs/weights.md: its lines name weights, licences and keys that there are."""

import re
import shlex

import pytest

from nanoseg.weights.published import PUBLISHED
from tests.helpers.paths import ROOT

TEXT = (ROOT / "docs" / "weights.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.M | re.S)
LINES = [shlex.split(line) for kind, block in BLOCKS if not kind for line in block.splitlines()]
FETCHED = {f"weights/{weights.file}" for weights in PUBLISHED}


def test_weights_are_fetched_before_they_are_used():
    names = {weights.name: weights for weights in PUBLISHED}
    fetched = set()
    for line in LINES:
        if line[:2] == ["nanoseg", "fetch"]:
            for name in (word for word in line[2:] if not word.startswith(("-", "http"))):
                assert names[name].licence.must_accept == ("--accept-licence" in line)
                fetched.add(f"weights/{names[name].file}")
        used = {word for word in line if word.startswith("weights/")}
        assert used <= fetched
    assert fetched <= FETCHED
    told = set(re.findall(r"`([a-z0-9]+-[a-z0-9-]+)`", TEXT))
    assert {name for name in told if name.endswith(("sam", "encoder", "decoder", "-s", "-h"))} <= set(names)


def test_files_are_called_as_they_are_published():
    text = re.sub(r"^```.*?^```$", "", TEXT, flags=re.M | re.S)
    named = set(re.findall(r"`([^`\s]+\.(?:pth?|onnx|safetensors))`", text))
    assert {"mobile_sam.pt", "sam_vit_h_4b8939.pth"} <= named <= {weights.file for weights in PUBLISHED}


def test_licences_are_noted_in_the_bundle():
    closed = {f"weights/{weights.file}" for weights in PUBLISHED if weights.licence.must_accept}
    made = [line for line in LINES if closed & set(line) and line[:3] == ["nanoseg", "bundle", "make"]]
    assert len(made) > 2
    for line in made:
        assert "Deci" in line[line.index("--licence") + 1], line


@pytest.mark.parametrize("block", [block for kind, block in BLOCKS if kind == "toml"])
def test_forms_are_read(block, tmp_path):
    form = pytest.importorskip("nanoseg.onnx_graphs.adapt.detector_spec")
    (tmp_path / "form.toml").write_text(block, encoding="utf-8")
    read = form.read_detector_spec(tmp_path / "form.toml")
    assert read.outputs.box_form == "cxcywh"
