"""What auto takes, and what it says of the engines that it leaves."""

import json
import logging
import shlex
import subprocess
import sys
from dataclasses import replace

import pytest

import nanoseg
from nanoseg.errors import UsageError
from tests.backends.select.left import LEFT, older_tensorrt
from tests.backends.select.machine import ELSEWHERE, FULL, IMAGE, got, no_driver, none_of_it
from tests.conftest import ROOT
from tests.fakes.onnxruntime_gpu import FakeOrtGpu


def test_select_auto_takes_tensorrt_where_all_engines_are_valid(on):
    with on() as run:
        with nanoseg.load(run.bundle, engines=run.engines) as segmenter:
            assert (segmenter.backend, segmenter.device) == ("tensorrt", str(FULL))
        with nanoseg.load(run.bundle, engines=run.engines, resize="nanosam") as segmenter:
            assert segmenter.backend == "onnxruntime"
        with pytest.raises(
            UsageError, match="resize: backend tensorrt prepares frames on the GPU, as cv2 does; pil is"
        ):
            nanoseg.load(run.bundle, "tensorrt", engines=run.engines, resize="pil")


@pytest.mark.parametrize(("build", "why"), LEFT)
def test_select_auto_warns_why_built_engines_are_not_used(build, why, machine, caplog):
    machine.install(FULL)
    build(machine)
    with machine.load() as segmenter:
        assert segmenter.backend == "onnxruntime"
        assert len(segmenter(IMAGE)) > 3
    (line,) = got(caplog)
    assert line.startswith("tiny: runs on onnxruntime, not on the engines that were built: /")
    assert f"/{why}" in line
    command = line.rpartition("; build it here: ")[2]
    assert shlex.split(command)[:4] == ["nanoseg", "build", "--bundle", str(machine.path)]
    caplog.clear()
    logging.getLogger("nanoseg").setLevel(logging.ERROR)
    try:
        machine.load().close()
    finally:
        logging.getLogger("nanoseg").setLevel(logging.NOTSET)
    assert not got(caplog)


@pytest.mark.parametrize(
    "build",
    [
        lambda machine: machine.put(ELSEWHERE),
        lambda machine: machine.put(ELSEWHERE).with_name("engines.json").write_text("damaged"),
    ],
    ids=["for another GPU", "for another GPU, and damaged"],
)
@pytest.mark.parametrize("installed", [(FULL,), ()])
def test_select_auto_is_silent_without_engines_for_this_gpu(build, installed, machine, caplog):
    machine.install(*installed)
    build(machine)
    with machine.load() as segmenter:
        assert segmenter.backend == "onnxruntime"
    assert not got(caplog)


def test_select_auto_warns_of_a_given_folder_without_engines(machine, caplog):
    """A mistyped one; the default folder is empty on most machines, without a warning."""
    machine.install(FULL)
    machine.put(FULL, bundle=replace(machine.bundle, name="another"))
    with machine.load() as segmenter:
        assert segmenter.backend == "onnxruntime"
    assert got(caplog) == [none_of_it(machine)]
    caplog.clear()
    with nanoseg.load(machine.path, resize="nanosam", engines=machine.engines):
        assert not got(caplog)


def test_select_auto_is_silent_for_an_empty_default_folder(machine, caplog, monkeypatch):
    machine.install(FULL)
    monkeypatch.setenv("NANOSEG_ENGINES", str(machine.engines))
    nanoseg.load(machine.path).close()
    assert not got(caplog)


def test_select_auto_loads_no_tensorrt_without_engines(machine):
    machine.install(FULL)
    machine.load().close()
    assert not machine.calls


RUN = """
import sys
from nanoseg.backends import find_device as device
from nanoseg.cli import main
from nanoseg.engines import Device

device.find_device = lambda *_: (Device("NVIDIA GeForce RTX 4090", (8, 9), "11.4.0"), "")
device.find_gpu = lambda: device.GpuResult(("NVIDIA GeForce RTX 4090", (8, 9)), "", has_driver=True)
main()
"""


def test_select_auto_warns_on_stderr_and_leaves_json_intact(machine):
    older_tensorrt(machine)
    words = ["run", "parts://?seed=1&size=64x48&objects=1", "--limit", "1", "--json", "--bundle", str(machine.path)]
    command = [sys.executable, "-c", RUN, *words, "--engines", str(machine.engines)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["backend"] == "onnxruntime"
    (line,) = done.stderr.splitlines()
    assert "built by TensorRT 11.3.0, here is TensorRT 11.4.0; build it here: nanoseg build --bundle " in line


@pytest.mark.parametrize("driver", [True, False])
@pytest.mark.parametrize("starts", [True, False])
def test_select_auto_warns_why_cuda_is_not_used(starts, driver, machine, caplog, monkeypatch):
    """Without cuDNN, say; a machine without a driver misses nothing."""
    if starts:
        FakeOrtGpu().install(monkeypatch)
    else:
        FakeOrtGpu(starts=["CPUExecutionProvider"]).install(monkeypatch)
    if not driver:
        no_driver(monkeypatch)
    with nanoseg.load(machine.path) as segmenter:
        assert segmenter.backend == ("onnxruntime-cuda" if starts else "onnxruntime")
    why = "onnxruntime-cuda: ONNX Runtime found no GPU it can use; backend onnxruntime needs none"
    line = f"tiny: runs on onnxruntime, not on its CUDA provider: {why}"
    assert got(caplog) == ([line] if driver and not starts else [])
