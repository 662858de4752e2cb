"""benchmarks/gpu.py: what can be held without a GPU, on fake ones."""

import io
import json
from contextlib import closing

import numpy as np
import pytest

import nanoseg
from nanoseg.backends.tensorrt.engine import TrtEngine
from nanoseg.errors import EngineError
from tests.backends.contract.backends import FAKES
from tests.backends.contract.conftest import engines, tiny  # noqa: F401
from tests.data.fill_weights import image_u8
from tests.fakes.tensorrt_plan import fake_plan
from tests.fakes.tensorrt_platforms import FLOAT, graph_of

pytest.importorskip("onnxruntime", reason="needs nanoseg[cpu]")
pytest.importorskip("torch", reason="needs nanoseg[export]")
pytest.importorskip("PIL", reason="needs nanoseg[eval]")
import gpu
import gpu_run
import gpu_trial
from gpu_run import Runner
from peers.nanosam.gpu import GpuWay

ORIN, DESKTOP, RTX, PYCUDA = FAKES
IMAGES = [image_u8(i, 120, 160) for i in range(2)]


RNG = np.random.default_rng(5)
# As NanoSAM's: one prompt, four masks, all inputs; each mask is a picture of its own times where the box lies.
PLAIN = graph_of(
    {
        "image_embeddings": (FLOAT, (1, 256, 4, 4)),
        "point_coords": (FLOAT, (1, 2, 2)),
        "point_labels": (FLOAT, (1, 2)),
        "mask_input": (FLOAT, (1, 1, 16, 16)),
        "has_mask_input": (FLOAT, (1,)),
    },
    {"low_res_masks": (FLOAT, (1, 4, 16, 16)), "iou_predictions": (FLOAT, (1, 4))},
    [
        ("ReduceSum", ["image_embeddings"], ["seen"], {"keepdims": 0}),
        ("ReduceSum", ["point_labels"], ["five"], {"keepdims": 0}),
        ("ReduceSum", ["point_coords", "ends"], ["where"], {"keepdims": 0}),
        ("MatMul", ["where", "mix"], ["iou"], {}),
        ("Mul", ["iou", "five"], ["iou_predictions"], {}),
        ("Reshape", ["iou", "block"], ["each"], {}),
        ("Mul", ["pictures", "each"], ["shown"], {}),
        ("Mul", ["seen", "little"], ["dim"], {}),
        ("Add", ["shown", "dim"], ["drawn"], {}),
        ("Mul", ["mask_input", "has_mask_input"], ["before"], {}),
        ("Add", ["drawn", "before"], ["low_res_masks"], {}),
    ],
    {
        "ends": np.array([1]),
        "block": np.array([1, 4, 1, 1]),
        "little": np.float32(1e-3),
        "mix": RNG.normal(size=(2, 4)).astype(np.float32),
        "pictures": RNG.normal(size=(1, 4, 16, 16)).astype(np.float32),
    },
)


def plain(run, segmenter):
    """That decoder as an engine of the fake GPU."""
    got = {"kind": run.trt.kind, "version": run.trt.version}
    return TrtEngine(run.trt.module, segmenter.pipeline._resources.gpu, fake_plan(PLAIN, **got), "plain.engine")


def test_gpu_nanosam_masks_equal_cpu(on, tiny, tmp_path):  # noqa: F811
    from PIL import Image

    from nanoseg.backends.onnxruntime.engine import OrtEngine
    from peers.nanosam.predictor import Predictor

    path = tmp_path / "plain.onnx"
    with on(DESKTOP) as run, run.load(confidence=0.2) as segmenter, nanoseg.load(tiny, "onnxruntime") as cpu:
        decoder = plain(run, segmenter)
        resources = segmenter.pipeline._resources
        way = GpuWay(segmenter.bundle, resources.gpu, resources.engines, decoder, torch_on_gpu=False)
        path.write_bytes(PLAIN)
        with closing(OrtEngine(path)) as same_decoder:
            predictor = Predictor(cpu.pipeline.engines["embed"], same_decoder, segmenter.bundle.encoder_px)
            for image in IMAGES:
                masks = way(image, 0.2, segmenter.iou, 3)
                assert len(masks) == 3
                predictor.set_image(Image.fromarray(np.ascontiguousarray(image[..., ::-1])))
                # The detector's input is made as for the pipeline, but for the rounding of levels.
                boxes = segmenter.detect(image).xyxy[:3]
                for mask, box in zip(masks, boxes, strict=True):
                    assert mask.shape == image.shape[:2]
                    assert np.mean(mask == predictor.mask(box)) > 0.99
        way.close()
        decoder.close()


@pytest.fixture
def whole(on, tmp_path, monkeypatch):
    """A call of the script on a fake GPU, for whose decoder `plain` is the engine; gives the code and the report."""
    with on(DESKTOP) as made:
        opened, built = [], []
        load = gpu_run.open_segmenter
        monkeypatch.setattr(gpu_run, "find_runner", lambda wanted: Runner("tensorrt", {"tensorrt-rtx": "no such GPU"}))
        monkeypatch.setattr(gpu_run, "versions", lambda tensorrt: {"nanoseg": "0.1.0", "tensorrt": tensorrt})
        monkeypatch.setattr(gpu_run, "build", lambda order: built.append(order) or 0)
        monkeypatch.setattr(gpu_run, "load_plain", lambda runner, it, path: plain(made, opened[-1]))
        monkeypatch.setattr(gpu_run, "open_segmenter", lambda *given: opened.append(load(*given)) or opened[-1])
        monkeypatch.setattr("peers.nanosam.way.plain_decoder", lambda path, px: io.BytesIO())
        monkeypatch.setattr(gpu_trial, "torch_refusal", lambda: "torch sees no GPU")
        out = tmp_path / "results" / "made-up.json"

        def call(*more):
            flags = ["--frame", "160x120", "--objects", "1,3", "--rounds", "4", "--json", str(out), *more]
            code = gpu.main(["--bundle", str(made.bundle), "--engines", str(made.engines), *flags])
            return code, json.loads(out.read_text())

        call.run, call.built = made, built
        yield call


def test_gpu_script_report(whole, capsys):
    code, report = whole("--no-tests")
    assert (code, report["failed"]) == (0, {})
    (order,) = whole.built
    assert (order.bundle, order.engines, order.target) == (str(whole.run.bundle), whole.run.engines, "tensorrt")
    assert (report["engine"], report["frame"], report["rounds"], "tests" in report) == ("tensorrt", "160x120", 4, False)
    assert (report["tensorrt_refusals"], report["not_captured"]) == ({"tensorrt-rtx": "no such GPU"}, {})
    assert report["versions"] == {"nanoseg": "0.1.0", "tensorrt": "11.4.0"}
    assert [(each["objects"], each["found"]) for each in report["modes"]] == [(1, 1), (3, 3)]
    for each in report["modes"]:
        assert each["latency_ms"]["p50"] > 0
        assert each["stream_fps"] > 0
        assert each["stream_latency_ms"]["p50"] > 0
        assert each["ratio"] == pytest.approx(each["latency_ms"]["p50"] / each["nanosam_ms"]["p50"], abs=1e-3)
        assert list(each["host_waits_ms"]) == ["prepare", "detect", "embed", "segment", "total"]
        assert {span["name"] for span in each["timeline"]["last"]} >= {"prepare", "detect", "embed"}
    table = capsys.readouterr().out
    ratio = f"{report['modes'][1]['ratio']:.3f}"
    for words in ("stage alone", "NanoSAM's way", "segment 8", ratio, "tensorrt-rtx: no such GPU", "TensorRT 11.4.0"):
        assert words in table


def fails(*_):
    raise EngineError("CUDA_ERROR_LAUNCH_FAILED")


def breaks(*_):
    raise RuntimeError("not as one thinks")


TESTS = {"exit_code": 1, "interrupted": False, "passed": 3, "failed": {"a::b": "assert 1 == 2"}, "skipped": {}}


@pytest.mark.parametrize(
    ("broken", "how", "failed", "modes"),
    [
        # What NanoSAM's way does is left out; ours is measured.
        ("load_plain", fails, {"NanoSAM's way": "CUDA_ERROR_LAUNCH_FAILED"}, [(1, False), (3, False)]),
        ("stages", breaks, {"stages alone": "RuntimeError: not as one thinks"}, [(1, True), (3, True)]),
        ("build", fails, {"pipeline": "CUDA_ERROR_LAUNCH_FAILED"}, None),
        ("run_tests", lambda *_: TESTS, {"tests": "pytest ends with 1; 1 failed"}, [(1, True), (3, True)]),
        ("run_tests", breaks, {"tests": "RuntimeError: not as one thinks"}, [(1, True), (3, True)]),
    ],
)
def test_gpu_script_keeps_going_after_failures(whole, monkeypatch, capsys, broken, how, failed, modes):
    monkeypatch.setattr(gpu_run, "run_tests", lambda *_: {**TESTS, "exit_code": 0, "failed": {}})
    monkeypatch.setattr(gpu_run, broken, how)
    code, report = whole()
    assert code == 1
    assert {name: why.strip().splitlines()[-1] for name, why in report["failed"].items()} == failed
    if modes is None:
        assert "modes" not in report
    else:
        assert [(each["objects"], each["ratio"] is not None) for each in report["modes"]] == modes
    out, err = capsys.readouterr()
    for name, why in failed.items():
        assert f"{name}: {why}" in out
        assert broken == "run_tests" or f"gpu: {name} failed: {why.removeprefix('RuntimeError: ')}" in err


def test_gpu_script_mode_without_failed_nanosam(whole, monkeypatch):
    def way(self, pixels, confidence, iou, objects):
        if objects == 3:
            fails()

    monkeypatch.setattr(GpuWay, "__call__", way)
    code, report = whole("--no-tests")
    assert (code, report["failed"]) == (1, {"3 objects": "CUDA_ERROR_LAUNCH_FAILED"})
    assert [(each["objects"], each["ratio"] is not None) for each in report["modes"]] == [(1, True), (3, False)]


def test_gpu_script_without_nanosams_libraries(whole, monkeypatch):
    monkeypatch.setattr(gpu_run, "NANOSAM", ("torch", "no_such_library"))
    code, report = whole("--no-tests")
    assert code == 0
    wanted = 'NanoSAM\'s way needs no_such_library: pip install "nanoseg[export,eval]"'
    assert report["nanosam_left_out"] == wanted
    assert len(report["modes"]) == 2


def test_gpu_script_goes_on_where_an_earlier_call_ended(whole, tmp_path, monkeypatch, capsys):
    work = ["--work", str(tmp_path / "work")]
    done = {**TESTS, "exit_code": 0, "failed": {}}
    ran = []
    monkeypatch.setattr(gpu_run, "run_tests", lambda timeout_s: ran.append(timeout_s) or done)
    code, report = whole(*work, "--minutes", "1e-9")
    assert (code, report["left"], report["failed"]) == (1, ["pipeline", "tests"], {})
    assert "pipeline is left for another call" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        patch.setattr(gpu_run, "stages", breaks)
        code, report = whole(*work, "--no-tests")
    assert (code, list(report["failed"]), len(report["modes"])) == (1, ["stages alone"], 2)
    kept = report["modes"]
    code, report = whole(*work)
    assert (code, report["left"], report["failed"]) == (0, [], {})
    assert report["modes"] == kept
    assert report["stages_ms"]
    assert (report["tests"], ran) == (done, [None])
    monkeypatch.setattr(gpu_run, "open_segmenter", lambda *_: pytest.fail("all is measured"))
    code, again = whole(*work)
    assert (code, again, len(ran)) == (0, report, 1)
    # Other settings, other figures.
    monkeypatch.setattr(gpu_run, "open_segmenter", fails)
    code, report = whole(*work, "--rounds", "5")
    assert (code, "modes" in report, list(report["failed"])) == (1, False, ["pipeline"])


@pytest.mark.parametrize("content", ["", "[]", "{"])
def test_gpu_script_measures_anew_where_the_kept_report_is_damaged(whole, tmp_path, content):
    (tmp_path / "report.json").write_text(content)
    code, report = whole("--no-tests", "--work", str(tmp_path))
    assert (code, len(report["modes"])) == (0, 2)


def test_gpu_script_tests_that_take_too_long_are_left(whole, tmp_path, monkeypatch):
    waited = []
    monkeypatch.setattr(
        gpu_run, "run_tests", lambda timeout_s: waited.append(timeout_s) or {**TESTS, "interrupted": True}
    )
    code, report = whole("--minutes", "5")
    assert (code, report["left"], report["failed"], report["tests"]["passed"]) == (1, ["tests"], {}, 3)
    assert 300 < waited[0] <= 600


def test_gpu_script_minutes(whole, capsys):
    with pytest.raises(FileNotFoundError):
        whole("--minutes", "0")
    assert "gpu: --minutes: wanted more than 0, got 0" in capsys.readouterr().err


@pytest.mark.parametrize("wanted", gpu.ENGINES)
def test_gpu_script_without_gpu(monkeypatch, capsys, wanted):
    def none():
        raise EngineError("no GPU that CUDA can use: cuInit returns CUDA_ERROR_NO_DEVICE")

    monkeypatch.setattr(gpu_run, "open_gpu", none)
    assert gpu.main(["--engine", wanted, "--bundle", "parts"]) == 5
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "gpu: no GPU to measure: no GPU that CUDA can use: cuInit returns CUDA_ERROR_NO_DEVICE\n"


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--frame", "12"), ("--frame", "0x5"), ("--objects", "1,x"), ("--rounds", "0"), ("--json", "/proc/none/x.json")],
)
def test_gpu_script_wrong_flags(flag, value, capsys):
    assert gpu.main([flag, value]) == 2
    assert capsys.readouterr().err.count("\n") == 1
