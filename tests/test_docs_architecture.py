"""docs/architecture.md names what is there, and counts as the code does."""

import re
from pathlib import Path

import pytest

from nanoseg.backends.trt_chain import buckets, frame_places, slot
from nanoseg.prompts import ABSENT

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`([a-z_/]+(?:\.py)?)`", TEXT))))
def test_files_are_there(path):
    if "/" in path or path.endswith(".py"):
        assert any((base / path).exists() for base in (ROOT, ROOT / "nanoseg"))


def test_every_part_of_the_chain_is_told():
    parts = [path.name for path in (ROOT / "nanoseg/backends/trt_chain").glob("[a-z]*.py")]
    assert len(parts) > 5
    for part in parts:
        assert f"`backends/trt_chain/{part}`" in TEXT


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
