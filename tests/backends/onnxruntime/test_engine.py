"""ONNX Runtime behind the engine protocol: what it takes, what it gives, and its errors in one line."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from nanoseg.backends.engine import TensorSpec
from nanoseg.backends.select import open_engines
from nanoseg.errors import DependencyError, EngineError, UsageError

ort = pytest.importorskip("nanoseg.backends.onnxruntime.engine", reason="needs nanoseg[cpu]")
session = pytest.importorskip("nanoseg.backends.onnxruntime.session", reason="needs nanoseg[cpu]")
onnx = pytest.importorskip("onnx", reason="needs nanoseg[bundle]")


def write_graph(path):
    """y = (sum of x's rows, as a product with ones) + bias; count = number of rows."""
    helper, kind = onnx.helper, onnx.TensorProto
    graph = helper.make_graph(
        [
            helper.make_node("ReduceSum", ["x", "axis"], ["sum"], keepdims=0),
            helper.make_node("Add", ["sum", "bias"], ["y"]),
            helper.make_node("Shape", ["x"], ["shape"], start=0, end=1),
            helper.make_node("Cast", ["shape"], ["count"], to=kind.INT32),
        ],
        "tiny",
        [
            helper.make_tensor_value_info("x", kind.FLOAT, ["n", 3]),
            helper.make_tensor_value_info("bias", kind.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("y", kind.FLOAT, ["n"]),
            helper.make_tensor_value_info("count", kind.INT32, [1]),
        ],
        [helper.make_tensor("axis", kind.INT64, [1], [1])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9), path)
    return path


@pytest.fixture
def engine(tmp_path):
    return ort.OrtEngine(write_graph(tmp_path / "tiny.onnx"), threads=1)


def test_engine_has_input_and_output_specs(engine):
    assert engine.name == "tiny.onnx"
    assert engine.device == "CPU, 1 thread"
    assert engine.inputs == {
        "x": TensorSpec(np.dtype(np.float32), (None, 3)),
        "bias": TensorSpec(np.dtype(np.float32), ()),
    }
    assert engine.outputs["count"] == TensorSpec(np.dtype(np.int32), (1,))


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_engine_runs(engine, rows):
    x = np.arange(rows * 3, dtype=np.float32).reshape(rows, 3)
    out = engine({"x": x, "bias": np.array(0.5, np.float32)})
    np.testing.assert_array_equal(out["y"], x.sum(1) + 0.5)
    assert out["count"].tolist() == [rows]


BIAS = np.array(0, np.float32)


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        (
            {"x": np.zeros((1, 4, 3), np.uint8), "bias": BIAS},
            r"tiny.onnx: 'x' wants float32 \(any, 3\), got uint8 \(1, 4, 3\)",
        ),
        ({"x": np.zeros((2, 4), np.float32), "bias": BIAS}, r"'x' wants float32 \(any, 3\), got float32 \(2, 4\)"),
        ({"x": np.zeros((2, 3)), "bias": BIAS}, r"'x' wants float32 \(any, 3\), got float64 \(2, 3\)"),
        ({"x": np.zeros((2, 3), np.float32), "bias": BIAS[None]}, r"'bias' wants float32 \(\), got float32 \(1,\)"),
        ({"bias": BIAS}, r"'x' wants float32 \(any, 3\), got nothing; it was fed bias"),
        ({}, "'x' wants .* it was fed none"),
        (
            {"x": np.zeros((2, 3), np.float32), "bias": BIAS, "y": BIAS},
            "tiny.onnx: has no input y; its inputs are x, bias",
        ),
    ],
)
def test_engine_refuses_feeds_by_name(engine, feeds, message):
    with pytest.raises(EngineError, match=message) as caught:
        engine(feeds)
    assert "\n" not in str(caught.value)


def test_engine_refuses_to_run_when_closed(engine):
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match=r"tiny.onnx: it was closed"):
        engine({"x": np.zeros((1, 3), np.float32), "bias": BIAS})


@pytest.mark.parametrize("content", [None, b"", b"not a network"])
def test_engine_refuses_other_files(tmp_path, content):
    path = tmp_path / "broken.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(EngineError, match=r"broken.onnx: ONNX Runtime cannot load .*broken.onnx: ") as caught:
        ort.OrtEngine(path)
    assert "\n" not in str(caught.value)


def test_engine_loads_content(tmp_path):
    content = write_graph(tmp_path / "tiny.onnx").read_bytes()
    engine = ort.OrtEngine(content, threads=1, name="detect.onnx")
    assert engine.name == "detect.onnx"
    assert engine({"x": np.ones((2, 3), np.float32), "bias": BIAS})["y"].tolist() == [3, 3]
    with pytest.raises(EngineError, match=r"detect.onnx: ONNX Runtime cannot load its content: ") as caught:
        ort.OrtEngine(content[:-1], name="detect.onnx")
    assert "\n" not in str(caught.value)


def write_quantized(path):
    """A convolution of ones, its input, weights and output behind Q/DQ."""
    helper, kind = onnx.helper, onnx.TensorProto
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["wd"]),
        helper.make_node("Conv", ["xd", "wd"], ["c"]),
        helper.make_node("QuantizeLinear", ["c", "s", "z"], ["cq"]),
        helper.make_node("DequantizeLinear", ["cq", "s", "z"], ["y"]),
    ]
    x, y = (helper.make_tensor_value_info(name, kind.FLOAT, [1, 4, 5, 5]) for name in "xy")
    constants = [
        helper.make_tensor("s", kind.FLOAT, [], [0.5]),
        helper.make_tensor("z", kind.INT8, [], [0]),
        helper.make_tensor("w", kind.INT8, [4, 4, 1, 1], [2] * 16),
    ]
    graph = helper.make_graph(nodes, "quantized", [x], [y], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9), path)
    return path


@pytest.mark.parametrize("as_stored", [False, True])
def test_engine_as_stored_runs_quantized_nodes(tmp_path, monkeypatch, as_stored):
    def remember(source, options, **others):
        options.optimized_model_filepath = str(tmp_path / "run.onnx")
        return real(source, options, **others)

    real = session.onnxruntime.InferenceSession
    monkeypatch.setattr(session.onnxruntime, "InferenceSession", remember)
    engine = ort.OrtEngine(write_quantized(tmp_path / "qat.onnx"), threads=1, as_stored=as_stored)
    ran = {node.op_type for node in onnx.load(tmp_path / "run.onnx").graph.node}
    assert ("QLinearConv" in ran, "Conv" in ran) == (not as_stored, as_stored)
    assert (engine({"x": np.full((1, 4, 5, 5), 0.6, np.float32)})["y"] == 2).all()


def test_engine_failure_is_one_line(engine):
    class Session:
        def run(self, names, feeds):
            raise RuntimeError("[ONNXRuntimeError] : 1 : FAIL :\n  a node\n  failed")

    engine._session = Session()
    with pytest.raises(EngineError) as caught:
        engine({"x": np.zeros((1, 3), np.float32), "bias": BIAS})
    assert str(caught.value) == "tiny.onnx: ONNX Runtime failed: [ONNXRuntimeError] : 1 : FAIL : a node failed"


def test_engine_without_onnxruntime_the_pip_line(tmp_path, monkeypatch):
    bundle = tiny_bundle(tmp_path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for name in ("session", "engine"):
        monkeypatch.delitem(sys.modules, f"nanoseg.backends.onnxruntime.{name}")
        monkeypatch.delattr(f"nanoseg.backends.onnxruntime.{name}")
    with pytest.raises(DependencyError, match=r'pip install "nanoseg\[cpu\]"'):
        open_engines(bundle, "onnxruntime")


def test_engine_without_opencv_the_pip_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    monkeypatch.delitem(sys.modules, "nanoseg.processing.preprocess", raising=False)
    with pytest.raises(DependencyError, match=r'pip install "nanoseg\[opencv\]"'):
        import nanoseg.processing.preprocess  # noqa: F401


def tiny_bundle(tmp_path):
    path = write_graph(tmp_path / "tiny.onnx")
    graph = SimpleNamespace(path=path, file=path.name, precision="fp32", external_bytes=0)
    return SimpleNamespace(graphs=dict.fromkeys(("detect", "embed", "segment"), graph))


@pytest.mark.parametrize("rounded", [False, True])
def test_engine_graph_in_int8_is_run_in_float32_or_rounded(tmp_path, monkeypatch, rounded):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    bundle = tiny_bundle(tmp_path)
    path = write_quantized(tmp_path / "int8.onnx")
    bundle.graphs["embed"] = SimpleNamespace(path=path, file="int8.onnx", precision="int8", sha256="a" * 64)
    engines = open_engines(bundle, "onnxruntime", rounded=rounded)
    assert [engine.name for engine in engines.values()] == ["tiny.onnx", "int8.onnx", "tiny.onnx"]
    answer = engines["embed"]({"x": np.full((1, 4, 5, 5), 0.6, np.float32)})["y"]
    np.testing.assert_allclose(answer, 2 if rounded else 2.4, rtol=1e-6)


@pytest.mark.parametrize("backend", ["auto", "onnxruntime"])
def test_engine_backend_opens_the_three_graphs(tmp_path, backend):
    engines = open_engines(tiny_bundle(tmp_path), backend)
    assert list(engines) == ["detect", "embed", "segment"]


def test_engine_of_an_unknown_backend(tmp_path):
    with pytest.raises(UsageError, match=r"backend: wanted one of auto, .*, onnxruntime-cuda, .*, tensorrt, got tpu"):
        open_engines(tiny_bundle(tmp_path), "tpu")


@pytest.mark.parametrize("backend", ["onnxruntime-cuda", "onnxruntime-tensorrt"])
def test_engine_gpu_without_its_provider(tmp_path, monkeypatch, backend):
    monkeypatch.setattr(session.onnxruntime, "get_available_providers", lambda: [session.CPU])
    monkeypatch.setattr("nanoseg.backends.onnxruntime.tensorrt_provider.provider_options", lambda *_: {})
    with pytest.raises(
        EngineError, match=rf"{backend}: .* no (Cuda|CUDA|Tensorrt) provider; pip install onnxruntime-gpu"
    ):
        open_engines(tiny_bundle(tmp_path), backend)


def test_session_threads_are_the_cpus_of_this_process(monkeypatch):
    monkeypatch.setattr(session.os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    assert session.available_cpus() == 3
    monkeypatch.delattr(session.os, "sched_getaffinity")
    monkeypatch.setattr(session.os, "cpu_count", lambda: None)
    assert session.available_cpus() == 1
