"""ONNX Runtime on a GPU: what lies where, on a stand-in; and on a real one, where there is one."""

import gc
import inspect
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import nanoseg
from nanoseg.backends.select import open_engines
from nanoseg.bundle import open_bundle
from nanoseg.errors import EngineError, UsageError
from nanoseg.processing.embedding import Embedding
from tests.backends.contract.conftest import same, tiny  # noqa: F401
from tests.data.fill_weights import image_u8

onnxruntime = pytest.importorskip("onnxruntime", reason="needs nanoseg[cpu]")

from tests.backends.onnxruntime.test_engine import write_graph  # noqa: E402
from tests.fakes import onnxruntime_gpu as stand_in  # noqa: E402

IMAGE = image_u8(1, 120, 160)
BACKENDS = ("onnxruntime-cuda", "onnxruntime-tensorrt")


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return stand_in.FakeOrtGpu().install(monkeypatch)


@pytest.mark.parametrize("name", ["InferenceSession", "IOBinding", "OrtValue"])
def test_gpu_stand_in_has_only_what_onnxruntime_has(name):
    mine, real = getattr(stand_in, name), getattr(onnxruntime, name)
    public = [each for each in vars(mine) if not each.startswith("_")]
    assert public
    for each in public:
        assert inspect.signature(getattr(mine, each)) == _plain(inspect.signature(getattr(real, each)))


def test_gpu_stand_in_is_made_as_a_session_is():
    real = inspect.signature(onnxruntime.InferenceSession).parameters
    assert list(inspect.signature(stand_in.FakeOrtGpu().session).parameters) == list(real)


def _plain(signature):
    """Without types, and without * or / in it."""
    parameters = [
        each.replace(annotation=each.empty, kind=each.POSITIONAL_OR_KEYWORD) for each in signature.parameters.values()
    ]
    return signature.replace(parameters=parameters, return_annotation=signature.empty)


@pytest.mark.parametrize("backend", BACKENDS)
def test_gpu_embedding_stays_on_the_gpu(gpu, tiny, backend):  # noqa: F811
    with nanoseg.load(tiny, backend, confidence=0.2, max_objects=5) as segmenter:
        assert segmenter.backend == backend
        with nanoseg.load(tiny, "onnxruntime", confidence=0.2, max_objects=5) as other:
            same(segmenter(IMAGE), other(IMAGE))
        before = gpu.moved.copy()
        found = segmenter(IMAGE)
        fetched = gpu.moved["fetched"] - before["fetched"]
        rows = segmenter.pipeline.engines["detect"].outputs
        of_rows = sum(int(np.prod(spec.shape)) * spec.dtype.itemsize for spec in rows.values())
        prompts = np.unique(found.masks.same)  # detections of one object share a mask
        assert fetched == of_rows + found.masks.logits[prompts].nbytes + found.mask_confidence[prompts].nbytes
        embedding = segmenter.embed(IMAGE)
        before = gpu.moved.copy()
        masks = segmenter.segment(embedding, boxes=[1, 2, 90, 80])
        moved = gpu.moved - before
        assert moved["fetched"] == masks.logits.nbytes + masks.confidence.nbytes
        assert moved["sent"] < 100  # a box and the geometry
        before = gpu.moved.copy()
        assert embedding.array.nbytes == (gpu.moved - before)["fetched"]


def test_gpu_memory_is_freed(gpu, tiny):  # noqa: F811
    with nanoseg.load(tiny, "onnxruntime-cuda", confidence=0.2) as segmenter:
        segmenter(IMAGE)
        assert not gpu.alive
        embedding = segmenter.embed(IMAGE)
        for _ in range(5):
            segmenter(IMAGE)
            segmenter.segment(embedding, boxes=[1, 2, 90, 80])
        assert len(gpu.alive) == 1  # the embedding that is held here
        wanted = embedding.array
    gc.collect()
    np.testing.assert_array_equal(embedding.array, wanted)
    del embedding
    assert not gpu.alive


def test_gpu_embedding_goes_from_backend_to_backend(gpu, tiny):  # noqa: F811
    calls = {"boxes": [1, 2, 90, 80]}
    with nanoseg.load(tiny, "onnxruntime-cuda") as one, nanoseg.load(tiny, "onnxruntime") as other:
        embeddings = [one.embed(IMAGE), other.embed(IMAGE)]
        embeddings.append(Embedding.of(embeddings[0].array, embeddings[0].geometry))
        wanted = other.segment(embeddings[1], **calls).logits
        for embedding in embeddings:
            for segmenter in (one, other):
                np.testing.assert_allclose(segmenter.segment(embedding, **calls).logits, wanted, atol=1e-4)


def test_tensorrt_provider_options_have_cache_and_profile(gpu, tiny, tmp_path):  # noqa: F811
    nanoseg.load(tiny, "onnxruntime-tensorrt").close()
    opened = open_bundle(tiny)
    got = {Path(path).stem: options for path, provider, options in gpu.calls if provider.startswith("Tensorrt")}
    assert list(got) == ["detect", "embed", "segment"]
    for name, options in got.items():
        folder = Path(options["trt_engine_cache_path"])
        assert folder == tmp_path / "cache/nanoseg/onnxruntime-tensorrt" / opened.graphs[name].sha256[:16]
        assert folder.is_dir()
        assert options["trt_engine_cache_enable"] == "True"
        assert any(key.startswith("trt_profile") for key in options) == (name == "segment")
    shapes = {key: got["segment"][f"trt_profile_{key}_shapes"] for key in ("min", "opt", "max")}
    assert shapes == {
        "min": "point_coords:1x1x2,point_labels:1x1",
        "opt": "point_coords:4x2x2,point_labels:4x2",
        "max": "point_coords:16x16x2,point_labels:16x16",
    }


def test_tensorrt_provider_without_a_cache_builds_anew(gpu, tiny, tmp_path):  # noqa: F811
    (tmp_path / "cache").write_text("no folder")
    nanoseg.load(tiny, "onnxruntime-tensorrt").close()
    assert not any("cache" in key for _, _, options in gpu.calls for key in options)


@pytest.mark.parametrize(
    ("backend", "starts", "message"),
    [
        ("onnxruntime-cuda", (), "onnxruntime-cuda: ONNX Runtime found no GPU it can use; backend onnxruntime needs"),
        ("onnxruntime-tensorrt", ("CUDA",), "onnxruntime-tensorrt: ONNX Runtime cannot start TensorRT here; backend"),
    ],
)
def test_gpu_provider_that_does_not_start(monkeypatch, tiny, backend, starts, message):  # noqa: F811
    started = [f"{each}ExecutionProvider" for each in (*starts, "CPU")]
    stand_in.FakeOrtGpu(started).install(monkeypatch)
    with pytest.raises(EngineError, match=message):
        nanoseg.load(tiny, backend)
    with nanoseg.load(tiny, "auto") as segmenter:
        assert segmenter.backend == ("onnxruntime-cuda" if starts else "onnxruntime")


def test_gpu_failure_is_one_line_and_the_next_call_runs(gpu, tmp_path, monkeypatch):
    path = write_graph(tmp_path / "tiny.onnx")
    bundle = SimpleNamespace(
        graphs={"embed": SimpleNamespace(path=path, file=path.name, precision="fp32", external_bytes=0)}
    )
    engine = open_engines(bundle, "onnxruntime-cuda")["embed"]
    feeds = {"x": np.ones((2, 3), np.float32), "bias": np.array(1, np.float32)}

    def fail(*_):
        raise RuntimeError("[ONNXRuntimeError] : 1 : FAIL :\n  CUDA failure 2: out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(stand_in.InferenceSession, "run_with_iobinding", fail)
        with pytest.raises(EngineError, match=r"^tiny.onnx: ONNX Runtime failed: .* FAIL : CUDA failure 2: out of mem"):
            engine(feeds)
    np.testing.assert_array_equal(engine(feeds)["y"], [4, 4])
    with pytest.raises(EngineError, match=r"'x' wants float32 \(any, 3\), got float32 \(2, 4\)"):
        engine({**feeds, "x": np.ones((2, 4), np.float32)})
    engine.close()
    with pytest.raises(EngineError, match="it was closed"):
        engine(feeds)


def test_select_open_engines_refuses_tensorrt():
    with pytest.raises(UsageError, match="open_pipeline"):
        open_engines(SimpleNamespace(graphs={}), "tensorrt")


def test_gpu_outputs_are_the_callers_own(tmp_path, monkeypatch):
    """On the CPU, whose memory is bound in the same way as a GPU's."""
    from nanoseg.backends.onnxruntime import gpu as ort_gpu

    session = onnxruntime.InferenceSession
    monkeypatch.setattr(ort_gpu, "CUDA", "CPUExecutionProvider")
    monkeypatch.setitem(ort_gpu._PROVIDERS, "onnxruntime-cuda", "CPUExecutionProvider")
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda *given, providers, **kw: session(*given, ["CPUExecutionProvider"], **kw)
    )
    monkeypatch.setattr(ort_gpu, "_DEVICE", "cpu")
    engine = ort_gpu.OrtGpuEngine(write_graph(tmp_path / "tiny.onnx"), "onnxruntime-cuda")
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    bias = np.array(1, np.float32)
    first, kept = engine({"x": x, "bias": bias}), engine.run_on_device({"x": x, "bias": bias})
    wanted, sums = first["y"].copy(), x.sum(1) + 1
    np.testing.assert_array_equal(wanted, sums)
    for i in range(9):
        engine({"x": x + i, "bias": bias})
    again = engine({"x": np.ones((1, 3), np.float32), "bias": bias})
    assert again["y"].tolist() == [4]
    engine.close()
    gc.collect()
    np.testing.assert_array_equal(first["y"], wanted)
    np.testing.assert_array_equal(kept.array(), sums)
    assert (kept.shape, kept.dtype) == ((2,), np.float32)


@pytest.fixture
def libraries(monkeypatch):
    """Output of ONNX Runtime when it loads CUDA libraries, which is done once a process."""
    from nanoseg.backends.onnxruntime import gpu as module

    calls = []

    def preload():
        calls.append(1)
        print("Failed to load libcudnn.so.9: cannot open\nPlease follow https://onnxruntime.ai")

    monkeypatch.setattr(onnxruntime, "preload_dlls", preload, raising=False)
    module._load_libraries.cache_clear()
    yield module, calls
    module._load_libraries.cache_clear()


def test_gpu_loads_cuda_of_pip_and_reports_what_is_missing(libraries, monkeypatch, tiny, capsys):  # noqa: F811
    module, calls = libraries
    load = module._load_libraries
    stand_in.FakeOrtGpu(["CPUExecutionProvider"]).install(monkeypatch)
    monkeypatch.setattr(module, "_load_libraries", load)
    for _ in range(2):
        with pytest.raises(EngineError, match=r"found no GPU .*; it says: Failed to load libcudnn\.so\.9: cannot open"):
            nanoseg.load(tiny, "onnxruntime-cuda")
    assert len(calls) == 1
    assert capsys.readouterr().out == ""


def test_gpu_with_an_onnxruntime_that_preloads_nothing(libraries, monkeypatch):
    module, calls = libraries
    monkeypatch.delattr(onnxruntime, "preload_dlls", raising=False)
    assert module._load_libraries() == ""
    assert not calls
