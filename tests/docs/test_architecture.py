"""docs/architecture.md: names and numbers are those of the code."""

import re

import pytest

from nanoseg.backends.pipeline import Pipeline
from nanoseg.backends.select import BACKENDS
from nanoseg.backends.tensorrt.context import ALIGNMENT
from nanoseg.backends.tensorrt.pipeline import frame_buffers, frame_slot, memory_plan
from nanoseg.processing.nms import RawDetections
from nanoseg.processing.prompts import ABSENT
from tests.docs.pages import ARCHITECTURE, command_lines, inline_code, section
from tests.helpers.paths import ROOT

PATHS = sorted({words for words in inline_code(ARCHITECTURE) if re.fullmatch(r"[a-z_]+(/[a-z_]+)*(/|\.py)", words)})


@pytest.mark.parametrize("path", PATHS)
def test_files_exist(path):
    assert any((base / path).exists() for base in (ROOT, ROOT / "nanoseg"))


def test_every_module_of_the_pipeline_is_listed():
    modules = [path.name for path in (ROOT / "nanoseg/backends/tensorrt/pipeline").glob("[a-z]*.py")]
    assert len(modules) > 5
    listed = section(ARCHITECTURE, "Where to look")
    assert [each for each in modules if f"`backends/tensorrt/pipeline/{each}`" not in listed] == []


def test_numbers_are_those_of_the_code():
    words = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}
    assert f"{words[frame_slot.MAX_FRAME_SIZES]} sizes per slot" in ARCHITECTURE
    assert f"{words[memory_plan.STREAM_SLOTS]} that alternate in `stream`" in ARCHITECTURE
    height, width = frame_buffers.TRIAL_HW
    assert f"with a frame of {width}x{height}" in ARCHITECTURE
    assert f"a multiple of {ALIGNMENT} bytes" in ARCHITECTURE
    assert f"(label {ABSENT:g})" in ARCHITECTURE
    assert "1 to 8, 10, 12 or 16 boxes" in ARCHITECTURE
    assert memory_plan.bucket_sizes(1, 8) == list(range(1, 9))
    assert memory_plan.bucket_sizes(1, 16) == [*range(1, 9), 10, 12, 16]


def test_rounds_of_nms_are_those_of_the_graph():
    nms = pytest.importorskip("nanoseg.onnx_graphs.deploy.nms")
    assert f"{nms.ROUNDS} rounds" in section(ARCHITECTURE, "On a GPU")


def test_steps_are_the_protocols():
    path = section(ARCHITECTURE, "The path")
    (steps,) = re.findall(r"calls ((?:`\w+`(?:, | and )?)+) are the steps", " ".join(path.split()))
    assert all(hasattr(Pipeline, step) for step in re.findall(r"`(\w+)`", steps))
    assert all(name in path for name in RawDetections.__annotations__)


def test_backends_are_those_that_can_be_chosen():
    named = set(re.findall(r"`(tensorrt|onnxruntime[a-z-]*)`", section(ARCHITECTURE, "Choosing a backend")))
    assert named == set(BACKENDS) - {"auto"}


def test_flags_of_the_benchmark_exist():
    (line,) = [line for line in command_lines("docs/architecture.md") if line.startswith("python benchmarks/gpu.py")]
    script = (ROOT / "benchmarks/gpu.py").read_text(encoding="utf-8")
    assert all(f'"{flag}"' in script for flag in re.findall(r"--[a-z]+", line))
