"""docs/weights.md: weights, licences, messages and detector specs are those of the code."""

import re
import shlex

import pytest

from nanoseg.weights.published import PUBLISHED
from tests.docs.pages import BLOCKS, WEIGHTS, command_lines, inline_code, missing_messages, nanoseg_commands, section

COMMANDS = nanoseg_commands("docs/weights.md")
SPECS = [block.text for block in BLOCKS if block.page == "docs/weights.md" and block.language == "toml"]


def test_weights_are_fetched_before_they_are_used():
    names = {weights.name: weights for weights in PUBLISHED}
    fetched = set()
    for words in COMMANDS:
        if words[0] == "fetch":
            for name in (word for word in words[1:] if not word.startswith(("-", "http"))):
                assert names[name].licence.must_accept == ("--accept-licence" in words)
                fetched.add(f"weights/{names[name].file}")
        assert {word for word in words if word.startswith("weights/")} <= fetched
    assert len(fetched) > 2


def test_weights_in_the_text_are_published():
    code = inline_code(WEIGHTS)
    names = {each for each in code if re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*-(sam|encoder|decoder|s|h)", each)}
    assert {"mobile-sam", "nanosam-encoder"} <= names <= {weights.name for weights in PUBLISHED}
    files = {each for each in code if re.fullmatch(r"\S+\.(pth?|onnx|safetensors)", each)}
    assert {"mobile_sam.pt", "sam_vit_h_4b8939.pth"} <= files <= {weights.file for weights in PUBLISHED}


def test_mirrors_are_known():
    urls = {
        word
        for line in command_lines("docs/weights.md")
        if line.startswith("nanoseg ")
        for word in shlex.split(line)
        if "://" in word
    }
    assert urls
    assert urls <= {mirror for weights in PUBLISHED for mirror in weights.mirrors}


def test_licences_are_noted_in_the_bundle():
    restricted = {f"weights/{weights.file}" for weights in PUBLISHED if weights.licence.must_accept}
    made = [words for words in COMMANDS if restricted & set(words) and words[:2] == ["bundle", "make"]]
    assert len(made) > 2
    for words in made:
        assert "Deci" in words[words.index("--licence") + 1], words


def test_messages_are_those_of_the_code():
    assert missing_messages(section(WEIGHTS, "When a download fails")) == []


@pytest.mark.parametrize("spec", SPECS)
def test_detector_specs_are_read(spec, tmp_path):
    detector_spec = pytest.importorskip("nanoseg.onnx_graphs.adapt.detector_spec")
    (tmp_path / "spec.toml").write_text(spec, encoding="utf-8")
    read = detector_spec.read_detector_spec(tmp_path / "spec.toml")
    assert read.outputs.box_form == "cxcywh"
