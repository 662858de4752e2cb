"""TensorRT itself: it builds, is stopped, and refuses as the fake does."""

import dataclasses
import os
import signal

import pytest

from nanoseg.backends.tensorrt.build.engine import build_engine
from nanoseg.engines import Profile
from nanoseg.engines.recipe import read_recipe
from nanoseg.errors import EngineError
from tests.backends.tensorrt.build.one_graph import RECIPE
from tests.helpers.paths import ROOT


@pytest.fixture(scope="module")
def rtx():
    return pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")


@pytest.fixture(scope="module")
def prepare():
    return (ROOT / "nanoseg" / "bundles" / "parts" / "prepare.onnx").read_bytes()


def test_build_engine_real(rtx, prepare):
    message = []
    built = build_engine(rtx, prepare, read_recipe("prepare"), progress=lambda done, _: message.append(done))
    assert len(built.plan) > 100_000
    assert built.profiles == {"frame": Profile([1, 120, 160, 3], [1, 720, 1280, 3], [1, 1080, 1920, 3])}
    assert message[-1] > 0.5


def test_build_engine_real_interrupted(rtx, prepare):
    calls = []

    def report(done, doing):
        if done and not calls:
            calls.append(doing)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        build_engine(rtx, prepare, read_recipe("prepare"), progress=report)
    assert calls


def model(*nodes, **inputs):
    helper = pytest.importorskip("onnx", reason="needs nanoseg[bundle]").helper
    values = [helper.make_tensor_value_info(name, kind, (1, 4, 4)) for name, kind in inputs.items()]
    made = [helper.make_node(op, ins, [out], name=f"my_{op}") for op, ins, out in nodes]
    out = helper.make_tensor_value_info("out", 1, None)
    graph = helper.make_graph(made, "g", values, [out])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9).SerializeToString()


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (lambda whole: whole[: len(whole) // 2], "cannot read it: .*is the file whole"),
        (lambda _: b"nonsense", "cannot read it: .*is the file whole"),
        (lambda _: b"", "cannot build it: .*must have at least one output"),
        (lambda _: model(("Frob", ["a"], "out"), a=1), r"cannot read it: node my_Frob \(Frob\): .*Plugin not found"),
        (
            lambda _: model(("Relu", ["a"], "x"), ("Add", ["x", "b"], "out"), a=1, b=10),
            r"cannot read it: node my_Add \(Add\): .*must have same input types",
        ),
        # What it reads and has no kernel for is reported by the builder, in one of TensorRT's ways.
        (
            lambda _: model(("NonMaxSuppression", ["a", "b"], "out"), a=1, b=1),
            "cannot build it: .*my_NonMaxSuppression",
        ),
    ],
)
def test_build_engine_real_refusals(rtx, prepare, graph, message):
    with pytest.raises(EngineError, match=rf"^x\.onnx: TensorRT for RTX [\d.]+ {message}") as error:
        build_engine(rtx, graph(prepare), RECIPE, name="x.onnx")
    assert len(str(error.value)) < 500


def test_build_engine_real_small_workspace(rtx, prepare):
    little = dataclasses.replace(read_recipe("prepare"), workspace_mb=2)
    with pytest.raises(EngineError, match="a workspace of 2 MB is too little, so try --workspace 4; or memory ran out"):
        build_engine(rtx, prepare, little)
