"""The probe of CUDA and TensorRT: on a fake driver and fake bindings, and on TensorRT for RTX where it is installed."""

import ctypes
import enum
import json
import sys
import types

import numpy as np
import pytest

from nanoseg.backends import probe
from nanoseg.backends.tensorrt.int8_conv_graph import CHANNELS, SIDE_PX, int8_conv_graph
from tests.fakes.libcuda import Driver


def run_probe(capsys, *arguments):
    assert probe.main(arguments) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.mark.parametrize(
    ("starts", "names", "error"), [(0, ["Orin", "NVIDIA GeForce RTX 4070"], None), (100, [], "CUDA_ERROR_NO_DEVICE")]
)
def test_probe_cuda(monkeypatch, capsys, starts, names, error):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Driver(starts))
    output = run_probe(capsys, "cuda")
    assert (output["driver"], output["error"]) == ("12.6", error)
    assert [each["name"] for each in output["devices"]] == names
    if names:
        orin = {"name": "Orin", "compute_capability": "8.7", "memory_mb": 7619, "shared": True}
        assert output["devices"][0] == orin


def test_probe_cuda_of_an_unnamed_error(monkeypatch, capsys):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Driver(777))
    assert run_probe(capsys, "cuda")["error"] == "CUDA error 777"


def test_probe_cuda_without_a_driver(monkeypatch, capsys):
    def nothing(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", nothing)
    output = run_probe(capsys, "cuda")
    assert (output["driver"], output["devices"]) == (None, [])
    assert "no NVIDIA driver" in output["error"]


@pytest.mark.parametrize(
    ("text", "output"),
    [
        (None, {"missing": True}),
        ("__version__ = '10.3.0'", {"version": "10.3.0"}),
        ("import libnvinfer_bindings", {"error": "No module named 'libnvinfer_bindings'"}),
        (
            "raise ImportError('libnvinfer.so.10: cannot open\\nshared object file')",
            {"error": "ImportError: libnvinfer.so.10: cannot open shared object file"},
        ),
    ],
)
def test_probe_version(tmp_path, monkeypatch, capsys, text, output):
    name = "tensorrt_of_a_test"
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    if text:
        (tmp_path / f"{name}.py").write_text(text)
    assert run_probe(capsys, "version", name) == output
    sys.modules.pop(name, None)


class Severity(enum.Enum):
    INTERNAL_ERROR, ERROR, WARNING = range(3)


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING = Severity

    def log(self, severity, msg):
        raise NotImplementedError


class StronglyTyped(enum.IntEnum):
    STRONGLY_TYPED = 1


def bindings(parses=True, builds=True):
    """A fake of TensorRT 10.3's module; arguments are recorded in `calls`."""
    module = types.ModuleType("tensorrt_of_a_test")
    module.calls = []

    class Config:
        def set_memory_pool_limit(self, pool, pool_size):
            module.calls.append((pool, pool_size))

    class Builder:
        def __init__(self, logger):
            assert isinstance(logger, ILogger)
            self.logger = logger

        def create_network(self, flags):
            module.calls.append(flags)
            return "network"

        def create_builder_config(self):
            return Config()

        def build_serialized_network(self, network, config):
            self.logger.log(Severity.WARNING, "only a warning")
            if builds:
                return b"plan"
            self.logger.log(Severity.ERROR, "no implementation\nfor node Conv")
            return None

    class OnnxParser:
        num_errors = 1

        def __init__(self, network, logger):
            assert network == "network"

        def parse(self, model):
            module.calls.append(model)
            return parses

        def get_error(self, index):
            return types.SimpleNamespace(desc=lambda: "DequantizeLinear wants float weights")

    module.ILogger, module.Builder, module.OnnxParser = ILogger, Builder, OnnxParser
    module.NetworkDefinitionCreationFlag = StronglyTyped
    module.MemoryPoolType = types.SimpleNamespace(WORKSPACE="workspace")
    return module


@pytest.mark.parametrize(
    ("fake", "builds", "reason"),
    [
        (bindings(), True, ""),
        (bindings(parses=False), False, "DequantizeLinear wants float weights"),
        (bindings(builds=False), False, "no implementation for node Conv"),
    ],
)
def test_probe_int8(monkeypatch, capsys, fake, builds, reason):
    monkeypatch.setitem(sys.modules, fake.__name__, fake)
    output = run_probe(capsys, "int8", fake.__name__)
    assert (output["builds"], output["why"]) == (builds, reason)
    assert fake.calls[:2] == [0b10, int8_conv_graph()]


@pytest.mark.parametrize("version", ["10.3", "10.13", "11.4", "rtx-1.7"])
def test_fake_bindings_use_names_of_tensorrt(shared, version):
    real = json.loads((shared / "tensorrt-api" / f"{version}.json").read_text())
    fake = bindings()
    config = type(fake.Builder(ILogger()).create_builder_config())
    used = {"IBuilderConfig": config, "Builder": fake.Builder, "OnnxParser": fake.OnnxParser, "ILogger": ILogger}
    used["MemoryPoolType"] = fake.MemoryPoolType
    for name, kind in used.items():
        members = {each for each in vars(kind) if not each.startswith("_")} - {"WARNING"}
        assert members
        assert members <= set(real[name]), name
    assert "STRONGLY_TYPED" in real["NetworkDefinitionCreationFlag"]
    assert "desc" in real["ParserError"]


def test_probe_int8_of_broken_bindings(monkeypatch, capsys):
    fake = bindings()
    fake.Builder = None
    monkeypatch.setitem(sys.modules, fake.__name__, fake)
    assert run_probe(capsys, "int8", fake.__name__)["error"].startswith("TypeError: ")


def test_int8_conv_graph_is_valid_onnx():
    onnx = pytest.importorskip("onnx", reason="needs nanoseg[bundle]")
    runtime = pytest.importorskip("onnxruntime", reason="needs nanoseg[cpu]")
    model = onnx.load_from_string(int8_conv_graph())
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == [
        *("QuantizeLinear", "DequantizeLinear", "DequantizeLinear", "Conv")
    ]
    weights = next(each for each in model.graph.initializer if each.name == "w_int8")
    assert weights.data_type == onnx.TensorProto.INT8
    # Expected inside an image of one level: the level times the sum of the weights.
    sums = onnx.numpy_helper.to_array(weights).astype(np.float64).sum((1, 2, 3)) / 1024
    session = runtime.InferenceSession(int8_conv_graph(), providers=["CPUExecutionProvider"])
    y = session.run(None, {"x": np.full((1, CHANNELS, SIDE_PX, SIDE_PX), 0.5, np.float32)})[0]
    np.testing.assert_allclose(
        y[0, :, 1:-1, 1:-1], np.broadcast_to((sums / 2)[:, None, None], (CHANNELS, 30, 30)), 1e-5
    )


def test_probe_int8_on_tensorrt_for_rtx(capsys):
    pytest.importorskip("tensorrt_rtx", reason="needs tensorrt-rtx-cu12")
    output = run_probe(capsys, "int8", "tensorrt_rtx")
    assert (output.get("builds"), output.get("why")) == (True, ""), output
