"""benchmarks/gpu.py: what can be held without a GPU, on made-up ones."""

import io
import json
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import nanoseg
from nanoseg.backends.trt.engine import TrtEngine
from nanoseg.errors import EngineError
from tests.contract.backends import FAKES, backend
from tests.contract.conftest import engines, tiny  # noqa: F401
from tests.data.fill_weights import image_u8
from tests.fake_trt_plan import fake_plan
from tests.trt_platforms import FLOAT, graph_of

pytest.importorskip("onnxruntime", reason="needs nanoseg[cpu]")
pytest.importorskip("torch", reason="needs nanoseg[export]")
pytest.importorskip("PIL", reason="needs nanoseg[eval]")
sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))
import gpu
import gpu_stages
from gpu_nanosam import GpuWay
from gpu_stages import Span, Timeline, summary

ORIN, DESKTOP, RTX, PYCUDA = FAKES
IMAGES = [image_u8(i, 120, 160) for i in range(2)]


@pytest.fixture
def on(tiny, engines, monkeypatch):  # noqa: F811
    return lambda name: backend(name, tiny, engines / "tiny", monkeypatch)


@pytest.mark.parametrize(("name", "copied"), [(ORIN, []), (DESKTOP, ["copy"]), (PYCUDA, ["copy"])])
def test_each_stage_alone(on, name, copied):
    with on(name) as run, run.load(confidence=0.2) as segmenter:
        found = gpu_stages.stages(segmenter.chain, IMAGES[0], rounds=4)
        buckets = [f"segment {size}" for size in (1, 2, 4, 8)]
        assert list(found) == [*copied, "prepare", "detect", "embed", *buckets, "logits"]
        for spent in found.values():
            assert list(spent) == ["p50", "p95", "p99"]
            assert spent["p50"] >= 1  # a made-up GPU's pieces of work take one millisecond each
        assert found["detect"]["p50"] > found["prepare"]["p50"]  # thresholds come, rows go


@pytest.mark.parametrize(("name", "copies"), [(ORIN, 0), (DESKTOP, 1)])
def test_what_a_frame_is_made_of(on, name, copies):
    with on(name) as run, run.load(max_objects=3) as segmenter:
        wanted = segmenter(IMAGES[0])
        with Timeline(segmenter.chain) as marks:
            np.testing.assert_array_equal(segmenter(IMAGES[0]).xyxy, wanted.xyxy)
            spans = marks.spans()
            names = [span.name for span in spans]
            out = ["copy out"] * 2
            assert sorted(names) == sorted(
                ["copy in"] * copies + ["prepare", "detect", "embed", "copy across", "segment 4", *out]
            )
            assert names.index("prepare") < names.index("detect") < names.index("segment 4")
            assert names[-2:] == out
            assert spans[0].begin_ms == 0
            assert all(span.end_ms > span.begin_ms for span in spans)
            assert marks.spans() == []
        alive = dict(run.cuda.alive)
        segmenter(IMAGES[0])
        assert dict(run.cuda.alive) == alive
        assert "copy" not in vars(segmenter.chain._rig.gpu)


@pytest.mark.parametrize(
    ("spans", "wanted"),
    [
        ([], {}),
        ([("a", 0, 2)], {"whole_ms": 2, "busy_ms": 2, "gaps_ms": 0, "overlap_ms": 0, "copies_ms": 0}),
        # Side by side, one within the other, and a pause before a copy.
        (
            [("a", 0, 4), ("b", 1, 3), ("c", 2, 6), ("copy out", 9, 10)],
            {"whole_ms": 10, "busy_ms": 7, "gaps_ms": 3, "overlap_ms": 4, "copies_ms": 1},
        ),
    ],
)
def test_gaps_and_overlap(spans, wanted):
    assert summary([Span(*each) for each in spans]) == wanted


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
    """That decoder as an engine of the made-up GPU."""
    told = {"kind": run.trt.kind, "version": run.trt.version}
    return TrtEngine(sys.modules[run.trt.kind], segmenter.chain._rig.gpu, fake_plan(PLAIN, **told), "plain.engine")


def test_nanosams_way_cuts_out_what_the_same_networks_do_on_a_cpu(on, tiny, tmp_path):  # noqa: F811
    from nanosam_predictor import Predictor
    from PIL import Image

    from nanoseg.backends.ort.engine import OrtEngine

    path = tmp_path / "plain.onnx"
    with on(DESKTOP) as run, run.load(confidence=0.2) as segmenter, nanoseg.load(tiny, "onnxruntime") as cpu:
        decoder = plain(run, segmenter)
        rig = segmenter.chain._rig
        way = GpuWay(segmenter.bundle, rig.gpu, rig.engines, decoder, torch_on_gpu=False)
        path.write_bytes(PLAIN)
        with closing(OrtEngine(path)) as same_decoder:
            predictor = Predictor(cpu.chain.engines["embed"], same_decoder, segmenter.bundle.encoder_px)
            for image in IMAGES:
                masks = way(image, 0.2, segmenter.iou, 3)
                assert len(masks) == 3
                predictor.set_image(Image.fromarray(np.ascontiguousarray(image[..., ::-1])))
                # The detector's input is made as for the chain, but for the rounding of levels.
                boxes = segmenter.detect(image).xyxy[:3]
                for mask, box in zip(masks, boxes, strict=True):
                    assert mask.shape == image.shape[:2]
                    assert np.mean(mask == predictor.mask(box)) > 0.99
        way.close()
        decoder.close()


def test_the_whole_of_it(on, tmp_path, monkeypatch, capsys):
    built = []
    with on(DESKTOP) as run:
        opened = []
        monkeypatch.setattr(gpu, "find_engine", lambda wanted: ("tensorrt", ""))
        monkeypatch.setattr(gpu.run, "__defaults__", (gpu.find_engine,))
        monkeypatch.setattr(gpu, "build", lambda order: built.append(order) or 0)
        monkeypatch.setattr(gpu, "load_plain", lambda kind, it, path: plain(run, opened[0]))
        monkeypatch.setattr("nanosam_way.plain_decoder", lambda path, px: io.BytesIO())
        monkeypatch.setattr(gpu, "torch_on_gpu", lambda: False)
        load = gpu.open_segmenter
        monkeypatch.setattr(gpu, "open_segmenter", lambda *given: opened.append(load(*given)) or opened[0])
        out = tmp_path / "results" / "made-up.json"
        flags = ["--frame", "160x120", "--objects", "1,3", "--rounds", "4", "--no-tests", "--json", str(out)]
        code = gpu.main(["--bundle", str(run.bundle), "--engines", str(run.engines), *flags])
    assert code == 0
    assert [(order.bundle, order.engines) for order in built] == [(str(run.bundle), run.engines)]
    report = json.loads(out.read_text())
    assert (report["engine"], report["frame"], report["tests"], report["graphs"]) == ("tensorrt", "160x120", None, True)
    assert [(each["objects"], each["found"]) for each in report["modes"]] == [(1, 1), (3, 3)]
    for each in report["modes"]:
        assert each["latency_ms"]["p50"] > 0
        assert each["stream_fps"] > 0
        assert each["ratio"] == pytest.approx(each["latency_ms"]["p50"] / each["nanosam_ms"]["p50"], abs=1e-3)
        assert list(each["host_waits_ms"]) == ["prepare", "detect", "embed", "segment", "total"]
        assert {span["name"] for span in each["timeline"]["last"]} >= {"prepare", "detect", "embed"}
    table = capsys.readouterr().out
    for words in ("stage alone", "NanoSAM's way", "segment 8", f"{report['modes'][1]['ratio']:.3f}"):
        assert words in table


JUNIT = """<testsuites><testsuite>
<testcase classname="a" name="one"/>
<testcase classname="a" name="two"><failure message="x"/></testcase>
<testcase classname="b" name="three"><skipped message="needs pycuda"/></testcase>
<testcase classname="b" name="four"><error message="y"/></testcase>
</testsuite></testsuites>"""


def test_what_passed(tmp_path):
    path = tmp_path / "told.xml"
    nothing = {"passed": 0, "failed": [], "skipped": {}}
    assert gpu.read_junit(path) == nothing
    path.write_text(JUNIT)
    told = {"passed": 1, "failed": ["a::two", "b::four"], "skipped": {"b::three": "needs pycuda"}}
    assert gpu.read_junit(path) == told


@pytest.mark.parametrize("wanted", gpu.ENGINES)
def test_without_a_gpu(monkeypatch, capsys, wanted):
    def none():
        raise EngineError("no GPU that CUDA can use: cuInit answers CUDA_ERROR_NO_DEVICE")

    monkeypatch.setattr(gpu, "open_gpu", none)
    assert gpu.main(["--engine", wanted]) == 5
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "gpu: no GPU to measure: no GPU that CUDA can use: cuInit answers CUDA_ERROR_NO_DEVICE\n"


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--frame", "12"), ("--frame", "0x5"), ("--objects", "1,x"), ("--rounds", "0"), ("--json", "/proc/none/x.json")],
)
def test_flags_that_make_no_sense(flag, value, capsys):
    assert gpu.main([flag, value]) == 2
    assert capsys.readouterr().err.count("\n") == 1
