"""What TensorRT tells of a plan that a file of torch2trt holds."""

import json
import sys

import pytest

from nanoseg.backends.tensorrt import plan as trt
from nanoseg.errors import DependencyError, EngineError
from tests.fakes.tensorrt import CLASSES, fake_tensorrt
from tests.models.torch2trt.modules import OUTPUTS, PLAN, TENSORS


def test_describe_plan(tensorrt):
    found = trt.describe_plan(PLAN)
    assert (found.library, found.version) == ("tensorrt", "10.3.0")
    assert found.names(inputs=True) == ("input_1", "input_0")
    assert found.names(inputs=False) == OUTPUTS
    assert found.tensors[2] == trt.PlanTensor("input_0", "float32", (None, 3, 1024, 1024), True)


def test_describe_plan_without_a_gpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt({}, starts=False))
    with pytest.raises(EngineError, match=r"tensorrt 10\.3\.0 cannot start on this device: CUDA init.* error: 35"):
        trt.describe_plan(PLAN)


def test_describe_plan_falls_back_to_tensorrt_for_rtx(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    module = fake_tensorrt({PLAN: TENSORS}, version="1.7.1")
    module.__name__ = "tensorrt_rtx"
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", module)
    assert trt.describe_plan(PLAN).library == "tensorrt_rtx"


def test_describe_plan_reports_a_library_that_cannot_be_loaded(tmp_path, monkeypatch):
    (tmp_path / "tensorrt.py").write_text("raise ImportError('libnvinfer.so.10: cannot open\\nshared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    with pytest.raises(DependencyError, match=r"tensorrt cannot be loaded: libnvinfer\.so\.10: cannot open shared"):
        trt.describe_plan(PLAN)


@pytest.mark.parametrize("version", ["10.3", "10.13", "11.4", "rtx-1.7"])
def test_fake_has_only_what_tensorrt_has(version, shared):
    known = json.loads((shared / "tensorrt-api" / f"{version}.json").read_text())
    module = fake_tensorrt({})
    for kind in (*CLASSES, module.Runtime):
        assert kind.__name__ in known["tensorrt"]
        assert {name for name in vars(kind) if not name.startswith("_")} <= set(known[kind.__name__])
