"""`nanoseg build`: weights in INT8 are expanded for a TensorRT that does not take them."""

import contextlib
import os
import signal
import sys
import time
import types

import pytest

from nanoseg.backends.tensorrt.build import builder as builders
from nanoseg.backends.tensorrt.build.builder import Builder
from nanoseg.commands.build.command import BuildOptions, build
from nanoseg.engines import EngineStore
from nanoseg.errors import DependencyError, EngineError
from tests.commands.build.fake_builders import NO_INT8, fake_builder_for, lines
from tests.fakes.tensorrt_builder import fake_builder
from tests.helpers.engine_records import ORIN


def expansions(monkeypatch):
    """Replace what needs onnx; returns the files of its calls."""
    calls = []
    module = types.ModuleType("nanoseg.onnx_graphs.int8.expand_weights")
    module.expand_file = lambda path: (calls.append(path.name), b"expanded")[1]
    monkeypatch.setitem(sys.modules, "nanoseg.onnx_graphs.int8.expand_weights", module)
    return calls


@pytest.mark.parametrize(
    ("refuses", "flag", "calls", "expanded"), [("", False, 1, False), (NO_INT8, False, 1, True), ("", True, 0, True)]
)
def test_build_expands_int8_weights_where_necessary(
    refuses, flag, calls, expanded, engines, int8_bundle, monkeypatch, capfd
):
    files, builder = expansions(monkeypatch), fake_builder_for(refuses=refuses)
    build(BuildOptions(engines=engines, expand_int8=flag), builder)
    assert builder.api.calls == calls
    assert files == (["detect.onnx"] if expanded else [])
    assert builder.api.script.graphs.count(b"expanded") == expanded
    printed = lines(capfd)
    assert any("INT8 weights expanded" in line for line in printed) == expanded
    text = f"  TensorRT 10.3.0 does not build weights stored in INT8: {NO_INT8}"
    assert (text in printed) == bool(refuses)
    # The engine is that of the bundle's own graph.
    assert EngineStore(engines).check(int8_bundle, "detect", ORIN)
    build(BuildOptions(engines=engines), builder)
    assert builder.api.calls == calls  # there is nothing to ask for


def test_build_without_int8_tries_no_int8_weights(engines, int8_bundle):
    builder = fake_builder_for(refuses=NO_INT8)
    build(BuildOptions(engines=engines, only=["prepare", "embed"]), builder)
    assert builder.api.calls == 0


def test_build_expanding_without_onnx(engines, int8_bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    for name in [name for name in sys.modules if name.startswith("nanoseg.onnx_graphs")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(DependencyError) as error:
        build(BuildOptions(engines=engines, only=["detect"]), fake_builder_for(refuses=NO_INT8))
    assert str(error.value) == (
        "detect.onnx: giving TensorRT 10.3.0 its INT8 weights as floats needs onnx: "
        'onnx is not installed: pip install "nanoseg[bundle]"'
    )


def test_builder_int8_weights_with_real_library():
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
    assert builders.find_builder("tensorrt-rtx").int8_weights_refusal() == ""


def test_builder_int8_weights_where_library_does_not_start(monkeypatch):
    def fail(kind):
        raise TypeError("pybind11::init(): factory function\nreturned nullptr")

    monkeypatch.setattr(builders, "builds_int8_weights", fail)
    with pytest.raises(EngineError) as error:
        Builder(fake_builder(), "tensorrt", "10.3.0").int8_weights_refusal()
    assert str(error.value) == (
        "TensorRT 10.3.0 does not start here: pybind11::init(): factory function returned nullptr; "
        "run nanoseg doctor to see what is missing"
    )


def test_builder_int8_weights_refusal(monkeypatch):
    monkeypatch.setattr(builders, "builds_int8_weights", lambda kind: {"builds": False, "why": f"{kind}: {NO_INT8}"})
    assert Builder(fake_builder(), "tensorrt", "10.3.0").int8_weights_refusal() == f"tensorrt: {NO_INT8}"


def test_builder_int8_weights_interrupted(monkeypatch):
    def ask(kind):
        # In the main thread it would be raised in here, where TensorRT's bindings swallow what a callback raises.
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.5)
        return {"builds": True, "why": ""}

    monkeypatch.setattr(builders, "builds_int8_weights", ask)
    with pytest.raises(KeyboardInterrupt):
        Builder(fake_builder(), "tensorrt", "10.3.0").int8_weights_refusal()
