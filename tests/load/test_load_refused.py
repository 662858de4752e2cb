"""What `nanoseg.load` refuses, and what is left then."""

from dataclasses import replace

import pytest

import nanoseg
from nanoseg.errors import BundleError, EngineError, UsageError

pytest.importorskip("onnxruntime", reason="needs nanoseg[cpu]")
pytest.importorskip("onnx", reason="needs nanoseg[bundle]")


def test_load_refuses_other_bundles(tmp_path, bundle):
    with pytest.raises(BundleError):
        nanoseg.load(tmp_path / "nothing")
    with pytest.raises(UsageError, match="backend: wanted one of"):
        nanoseg.load(bundle, "tpu")
    with pytest.raises(UsageError, match="resize: wanted one of cv2, pil, nanosam, got bicubic"):
        nanoseg.load(bundle, resize="bicubic")
    with pytest.raises(UsageError, match="confidence: wanted"):
        nanoseg.load(bundle, confidence=2)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"backend": "tpu"}, "backend: wanted"),
        ({"resize": "bicubic"}, "resize: wanted"),
        ({"confidence": 2}, "confidence: wanted"),
        ({"iou": -1}, "iou: wanted"),
        ({"max_objects": 0}, "max_objects: wanted"),
        ({"nms": "per-class"}, "^nms: wanted by-class or across-classes, got per-class$"),
    ],
)
def test_load_arguments_are_refused_before_a_file_is_read(tmp_path, given, message):
    with pytest.raises(UsageError, match=message):
        nanoseg.load(tmp_path / "nothing", **given)


def test_load_no_engine_stays_open_where_one_cannot_be_loaded(bundle, monkeypatch):
    from nanoseg.backends.onnxruntime import engine as ort
    from nanoseg.backends.select import open_engines
    from nanoseg.bundle import open_bundle
    from tests.fakes.onnxruntime_gpu import FakeOrtGpu

    opened, closed = open_bundle(bundle), []
    monkeypatch.setattr(ort.OrtEngine, "close", lambda engine: closed.append(engine.name))
    broken = replace(opened.graphs["segment"], path=bundle / "bundle.toml")
    with pytest.raises(EngineError, match="cannot load"):
        open_engines(replace(opened, graphs={**opened.graphs, "segment": broken}))
    assert sorted(closed) == ["detect.onnx", "embed.onnx"]
    closed.clear()
    FakeOrtGpu(starts=["CPUExecutionProvider"]).install(monkeypatch)
    with pytest.raises(EngineError, match="found no GPU it can use"):
        open_engines(opened, "onnxruntime-cuda")
    assert closed == ["detect.onnx"]
