"""docs/precision.md: files are made before they are used; defaults and figures are those of the code."""

import re

import msgspec

from nanoseg.onnx_graphs.fp16.overflow import MARGIN
from tests.docs.pages import PRECISION, find_verb, nanoseg_commands, section
from tests.helpers.paths import ROOT

GIVEN = {"labels.json", "pictures/", "test.json", "test/", "detector_qat.onnx"}  # the user's own


def test_files_are_made_before_they_are_used():
    made = set(GIVEN)
    for words in nanoseg_commands("docs/precision.md"):
        outputs = {words[at + 1] for at, word in enumerate(words) if word in ("--out", "--report")}
        if words[0] == "fetch":
            continue  # held by test_weights.py
        read = {word for word in words[1:] if re.search(r"\.(onnx|json)$|/$", word)} - outputs
        read |= {words[at + 1] for at, word in enumerate(words) if word in ("--bundle", "--float")}
        assert read <= made, words
        made |= outputs


def test_defaults_of_quantize():
    defaults = _defaults("quantize")
    assert f"each of {defaults['--count']} calibration images" in PRECISION
    rows = re.findall(r"^\| `(\w+)`( \(default)?", section(PRECISION, "The detector in INT8"), re.M)
    assert {method for method, _ in rows} == {each.value for each in type(defaults["--method"])}
    assert [method for method, default in rows if default] == [defaults["--method"].value]
    assert f"`--rest {defaults['--rest'].value}` (the default)" in PRECISION


def test_defaults_of_fp16():
    text = section(PRECISION, "The encoder in float16")
    assert f"({_defaults('fp16')['--count']}, `--count`)" in text
    assert MARGIN == 4
    assert "headroom below four" in text


def test_accuracies_are_the_embedded_bundles():
    accuracy = msgspec.toml.decode((ROOT / "nanoseg/bundles/parts/bundle.toml").read_bytes())["accuracy"]
    float32, deployed = accuracy["float32"]["map50_95"], accuracy["deployed"]["map50_95"]
    assert f"{100 * (float32 - deployed):.2f} points of {float32}" in PRECISION
    assert f"mIoU {accuracy['float32']['miou']} for both" in PRECISION


def test_precisions_of_the_graphs():
    manifest = msgspec.toml.decode((ROOT / "nanoseg/bundles/parts/bundle.toml").read_bytes())
    names = {"int8": "INT8", "fp16": "float16", "fp32": "float32"}
    for graph, entry in manifest["graphs"].items():
        (row,) = re.findall(rf"^\| `{graph}` .*", PRECISION, re.M)
        assert names[entry["precision"]] in row


def _defaults(verb):
    return {name: option.default for option in find_verb([verb])[0].params for name in option.opts}
