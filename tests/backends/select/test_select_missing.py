"""What auto says where a driver, a GPU, a TensorRT or the store is missing."""

import shlex
import sys
import types

import pytest

import nanoseg
from nanoseg.cli import run_command
from nanoseg.engines import NO_TENSORRT
from nanoseg.errors import EngineError
from tests.backends.select.machine import ELSEWHERE, FULL, got, info_command, no_driver, none_of_it


def a_file_for_a_folder(machine):
    machine.engines.mkdir()
    (machine.engines / "tiny").write_text("a file")


def test_select_auto_warns_of_engines_without_tensorrt(machine, caplog):
    """As in a Jetson's virtual environment that was made without --system-site-packages."""
    machine.put(FULL)
    with machine.load() as segmenter:
        assert segmenter.backend == "onnxruntime"
    why = f"not on the engines that were built: tensorrt: {NO_TENSORRT}; {info_command(machine)} lists each engine"
    assert got(caplog) == [f"tiny: runs on onnxruntime, {why}"]
    with pytest.raises(EngineError, match=f"^tensorrt: {NO_TENSORRT}; --backend onnxruntime runs the bundle without$"):
        machine.load("tensorrt")


def test_select_warning_names_a_command_that_runs(machine, capsys):
    machine.install(FULL)
    machine.put(FULL)
    assert run_command(shlex.split(info_command(machine))[1:]) == 0
    assert str(machine.engines) in capsys.readouterr().out


def test_select_auto_is_silent_without_a_driver(machine, caplog, monkeypatch):
    """A PC that holds a Jetson's engines, or its own of a time when it had a GPU."""
    machine.install(FULL)
    machine.put(FULL)
    machine.put(ELSEWHERE)
    no_driver(monkeypatch)
    with machine.load() as segmenter:
        assert segmenter.backend == "onnxruntime"
    assert not got(caplog)
    why = "tensorrt: no NVIDIA driver: libcuda cannot be loaded; --backend onnxruntime runs the bundle without"
    with pytest.raises(EngineError, match=f"^{why}$"):
        machine.load("tensorrt")
    assert not machine.calls


def test_select_auto_warns_of_a_gpu_that_does_not_start(machine, caplog):
    """An engine was built once, so it did."""
    machine.install(FULL)
    machine.cuda.fails["cuInit"] = "NO_DEVICE"
    machine.load().close()
    assert got(caplog) == [none_of_it(machine)]
    caplog.clear()
    machine.put(FULL)
    machine.load().close()
    why = "tensorrt: no GPU that CUDA can use: cuInit returns CUDA_ERROR_NO_DEVICE"
    line = f"not on the engines that were built: {why}; {info_command(machine)} lists each engine"
    assert got(caplog) == [f"tiny: runs on onnxruntime, {line}"]
    with pytest.raises(EngineError) as error:
        machine.load("tensorrt")
    assert str(error.value) == f"{why}; --backend onnxruntime runs the bundle without"
    assert not machine.calls


def test_select_auto_warns_of_a_tensorrt_that_cannot_be_loaded(machine, caplog, monkeypatch):
    machine.put(FULL)
    monkeypatch.setitem(sys.modules, "tensorrt", types.ModuleType("tensorrt"))
    machine.load().close()
    (line,) = got(caplog)
    assert (
        "tensorrt: tensorrt cannot be loaded: module 'tensorrt' has no attribute '__version__'; nanoseg info /" in line
    )


@pytest.mark.parametrize("installed", [True, False])
def test_select_auto_warns_of_a_store_that_cannot_be_read(installed, machine, caplog):
    if installed:
        machine.install(FULL)
    a_file_for_a_folder(machine)
    with machine.load() as segmenter:
        assert segmenter.backend == "onnxruntime"
    why = f"{machine.engines}/tiny: cannot be read: Not a directory"
    assert got(caplog) == [f"tiny: runs on onnxruntime, not on the engines that were built: {why}"]
    with pytest.raises(EngineError) as error:
        machine.load("tensorrt")
    assert str(error.value) == why


def test_select_auto_is_silent_without_a_home(machine, caplog, monkeypatch):
    machine.install(FULL)

    def no_home(given):
        raise EngineError("engines: this user has no home folder")

    monkeypatch.setattr("nanoseg.engines.store.engines_folder", no_home)
    with nanoseg.load(machine.path) as segmenter:
        assert segmenter.backend == "onnxruntime"
    assert not got(caplog)
    with pytest.raises(EngineError, match="this user has no home folder"):
        machine.load("tensorrt")
