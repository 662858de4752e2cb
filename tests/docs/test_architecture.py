"""docs/architecture.md names what is there, and counts as the code does."""

import re

import pytest

from nanoseg.backends.tensorrt.pipeline import decoder as buckets
from nanoseg.backends.tensorrt.pipeline import frame_buffers as frame_places
from nanoseg.backends.tensorrt.pipeline import frame_slot as slot
from nanoseg.processing.prompts import ABSENT
from tests.helpers.paths import ROOT

TEXT = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`([a-z_/]+(?:\.py)?)`", TEXT))))
def test_files_are_there(path):
    if "/" in path or path.endswith(".py"):
        assert any((base / path).exists() for base in (ROOT, ROOT / "nanoseg"))


def test_every_part_of_the_pipeline_is_told():
    parts = [path.name for path in (ROOT / "nanoseg/backends/tensorrt/pipeline").glob("[a-z]*.py")]
    assert len(parts) > 5
    for part in parts:
        assert f"`backends/tensorrt/pipeline/{part}`" in TEXT


def test_numbers_are_the_codes():
    words = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 8: "eight"}
    assert f"{words[slot.MOST_SIZES]} sizes a slot" in TEXT
    height, width = frame_places.TRIAL_HW
    assert f"with a frame of {width}x{height}" in TEXT
    assert f"(label {ABSENT:g})" in TEXT
    assert "1, 2, 4, 8, ... boxes" in TEXT
    assert buckets._sizes(1, 8) == [1, 2, 4, 8]


def test_commands_are_taken():
    block = TEXT.split("\n```\n")[-2]
    assert block.startswith("python benchmarks/gpu.py --bundle")
    flags = set(re.findall(r"--[a-z]+", block))
    script = (ROOT / "benchmarks/gpu.py").read_text(encoding="utf-8")
    assert all(f'"{flag}"' in script for flag in flags)
