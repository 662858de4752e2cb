"""Messages and backends where ONNX Runtime is not installed."""

import sys

import pytest

import nanoseg
import nanoseg.backends.onnxruntime
from nanoseg.engines import NO_TENSORRT
from nanoseg.errors import DependencyError
from tests.backends.select.left import LEFT
from tests.backends.select.machine import ELSEWHERE, FULL, IMAGE, got, info_command, no_driver

PIP_LINE = 'onnxruntime is not installed: pip install "nanoseg[cpu]"'


@pytest.fixture
def no_onnxruntime(monkeypatch):
    """As on a Jetson that has JetPack's TensorRT alone."""
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for name in ("session", "engine", "gpu"):
        monkeypatch.delitem(sys.modules, f"nanoseg.backends.onnxruntime.{name}", raising=False)
        monkeypatch.delattr(nanoseg.backends.onnxruntime, name, raising=False)


@pytest.mark.parametrize(
    ("build", "why"), [*LEFT, (lambda machine: None, f"{FULL.folder}/prepare.engine: not built; build it here: nanos")]
)
def test_select_without_onnxruntime_names_both_ways_out(build, why, machine, caplog, no_onnxruntime):
    machine.install(FULL)
    build(machine)
    with pytest.raises(DependencyError) as error:
        machine.load()
    reason, _, pip_line = str(error.value).partition("; to run without engines: ")
    assert f"/{why}" in reason
    assert "; build it here: nanoseg build --bundle " in reason
    assert pip_line == PIP_LINE
    assert "\n" not in str(error.value)
    assert not got(caplog)


def test_select_without_onnxruntime_and_a_gpu_that_starts(machine, no_onnxruntime):
    machine.install(FULL)
    machine.cuda.fails["cuInit"] = "NO_DEVICE"
    with pytest.raises(DependencyError) as error:
        machine.load()
    why = "tensorrt: no GPU that CUDA can use: cuInit returns CUDA_ERROR_NO_DEVICE"
    assert str(error.value) == f"{why}; to run without engines: {PIP_LINE}"


@pytest.mark.parametrize("build", [lambda machine: None, lambda machine: machine.put(ELSEWHERE)])
def test_select_without_onnxruntime_and_tensorrt(build, machine, no_onnxruntime):
    build(machine)
    with pytest.raises(DependencyError) as error:
        machine.load()
    assert str(error.value) == PIP_LINE


def test_select_without_onnxruntime_and_tensorrt_but_with_engines_of_this_gpu(machine, no_onnxruntime):
    machine.put(FULL)
    with pytest.raises(DependencyError) as error:
        machine.load()
    why = f"tensorrt: {NO_TENSORRT}; {info_command(machine)} lists each engine"
    assert str(error.value) == f"{why}; to run without engines: {PIP_LINE}"


def test_select_without_onnxruntime_and_a_driver(machine, no_onnxruntime, monkeypatch):
    machine.install(FULL)
    machine.put(FULL)
    no_driver(monkeypatch)
    with pytest.raises(DependencyError) as error:
        machine.load()
    assert str(error.value) == PIP_LINE


def test_select_tensorrt_needs_no_onnxruntime(machine, no_onnxruntime):
    machine.install(FULL)
    machine.put(FULL)
    with machine.load() as segmenter:
        assert (segmenter.backend, len(segmenter(IMAGE)) > 3) == ("tensorrt", True)
