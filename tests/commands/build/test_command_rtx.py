"""`nanoseg build --target tensorrt-rtx`: graphs in INT8 are built in float16, and nothing else is."""

import sys
from dataclasses import replace

import pytest

from nanoseg.backends.tensorrt.build import bundle as building
from nanoseg.commands.build.command import BuildOptions, build
from nanoseg.engines import EngineStore
from nanoseg.errors import DependencyError
from nanoseg.onnx_graphs.deploy.float16 import float16_graph
from tests.commands.build.fake_builders import NO_INT8, built, fake_builder_for, lines
from tests.helpers.engine_records import ORIN, RTX
from tests.helpers.verbs import verb

NOTE = "without Q/DQ, as TensorRT for RTX fuses no INT8 convolution"


def test_build_for_rtx_in_float16(engines, int8_bundle, capfd):
    builder = fake_builder_for(here=RTX, refuses=NO_INT8)
    build(BuildOptions(engines=engines, expand_int8=True), builder)
    graphs = {name: graph.built.path.read_bytes() for name, graph in int8_bundle.graphs.items()}
    graphs["detect"] = float16_graph(int8_bundle.graphs["detect"].path)
    assert builder.api.script.graphs == list(graphs.values())
    assert builder.api.calls == 0  # no INT8 is left
    printed = lines(capfd)
    (told,) = [line for line in printed if NOTE in line]
    assert told.split()[:2] == ["detect", "fp16"]
    assert "expanded" not in told
    assert "though" not in told  # the recipe is for a graph in INT8, and so is this
    states = EngineStore(engines).best_states(int8_bundle, RTX)
    precisions = dict.fromkeys(graphs, "fp32") | {"detect": "fp16"}
    assert {name: state.record.precision for name, state in states.items()} == precisions
    assert states["detect"].valid
    assert states["detect"].record.graph_sha256 == int8_bundle.graphs["detect"].sha256
    built(builder)
    build(BuildOptions(engines=engines), builder)
    assert built(builder) == 0
    assert dict(line.split()[:2] for line in lines(capfd) if " exists" in line) == precisions


def test_build_for_rtx_replaces_an_engine_in_int8(engines, int8_bundle, monkeypatch):
    """Earlier versions built those: they run, but slower."""
    builder = fake_builder_for(here=RTX)
    plain = building._record
    monkeypatch.setattr(building, "_record", lambda *given: replace_precision(plain(*given)))
    build(BuildOptions(engines=engines, only=["detect"]), builder)
    assert EngineStore(engines).best_states(int8_bundle, RTX)["detect"].valid
    monkeypatch.undo()
    monkeypatch.setattr("nanoseg.commands.build.command.open_bundle", lambda _: int8_bundle)
    built(builder)
    build(BuildOptions(engines=engines, only=["detect"]), builder)
    assert built(builder) == 1
    assert EngineStore(engines).best_states(int8_bundle, RTX)["detect"].record.precision == "fp16"


def replace_precision(record):
    record.precision = "int8"
    return record


def test_build_for_tensorrt_stays_in_int8(engines, int8_bundle, capfd):
    builder = fake_builder_for()
    build(BuildOptions(engines=engines, only=["detect"]), builder)
    assert builder.api.script.graphs == [int8_bundle.graphs["detect"].path.read_bytes()]
    assert EngineStore(engines).best_states(int8_bundle, ORIN)["detect"].record.precision == "int8"
    assert not any(NOTE in line for line in lines(capfd))


def test_dry_run_for_rtx_builds_the_file_too(engines, int8_bundle):
    """It is how a PC checks what another machine's TensorRT is to build."""
    builder = replace(fake_builder_for(here=RTX), here=None)
    build(BuildOptions(engines=engines, only=["detect", "embed"], dry_run=True), builder)
    detect, embed = (int8_bundle.graphs[name].path for name in ("detect", "embed"))
    assert builder.api.script.graphs == [detect.read_bytes(), float16_graph(detect), embed.read_bytes()]


def test_build_for_rtx_without_onnx(engines, int8_bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    for name in [name for name in sys.modules if name.startswith("nanoseg.onnx_graphs")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(DependencyError) as error:
        build(BuildOptions(engines=engines, only=["detect"]), fake_builder_for(here=RTX))
    assert str(error.value) == (
        "detect.onnx: giving TensorRT for RTX 1.7.1 an INT8 graph in FP16 needs onnx: "
        'onnx is not installed: pip install "nanoseg[bundle]"'
    )


def test_build_for_rtx_itself(capsys):
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
    assert verb("build")(["--target", "tensorrt-rtx", "--dry-run", "--only", "detect"]) == 0
    assert NOTE in capsys.readouterr().out
