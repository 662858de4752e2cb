"""The engine made of torch, on a fake GPU: the same answers as ONNX Runtime's; on a real one in tests/contract."""

import numpy as np
import onnx
import pytest

import nanoseg
from nanoseg.backends.cuda import open_gpu
from nanoseg.bundle import open_bundle
from nanoseg.onnx_graphs.deploy.float32 import float32_graph
from nanoseg.processing.geometry import Geometry
from nanoseg.processing.tiles import NOT_COMPUTED, Tiles
from nanoseg.segmenter import Segmenter
from nanoseg.sources.simulator.line import SimulatedLine
from tests.backends.contract.conftest import of_sam, tiny  # noqa: F401
from tests.data.fill_weights import image_u8
from tests.fakes.cuda import FakeCuda

onnxruntime = pytest.importorskip("onnxruntime", reason="needs nanoseg[cpu]")
torch = pytest.importorskip("torch", reason="needs nanoseg[export]")
from tests.fakes.torch_runner import FakeRunner  # noqa: E402
from torch_engine import open_torch_pipeline  # noqa: E402
from torch_graph import TorchGraph, Weights  # noqa: E402

NOISE = [image_u8(i, 120 + 30 * (i % 2), 160) for i in range(3)]
LINE = [SimulatedLine(5).frame(20 + i).image for i in range(3)]
BOXES = [[1, 2, 90, 80], [5, 5, 60, 60], [30, 8, 99, 110]]


@pytest.fixture(params=["tiny", "of_sam", pytest.param("parts", marks=pytest.mark.slow)])
def both(request, monkeypatch):
    """A bundle on the fake GPU, and the same on ONNX Runtime. The embedded one is INT8, FP16 and float32."""
    bundle = open_bundle("parts" if request.param == "parts" else request.getfixturevalue(request.param))
    cuda = FakeCuda().install(monkeypatch)
    pipeline = open_torch_pipeline(bundle, open_gpu(), FakeRunner(cuda))
    settings = {"confidence": 0.2, "max_objects": 3}
    with Segmenter(bundle, pipeline, **settings) as one, nanoseg.load(bundle.path, "onnxruntime", **settings) as other:
        yield one, other
    cuda.check()


def test_torch_graph_equals_onnxruntime():
    """Of the embedded bundle in float, one fed with what the one before gave; twice, for the second is captured."""
    values = {
        "frame": SimulatedLine(5).frame(20).image[None],
        "confidence": np.array(0.2, np.float32),
        "iou": np.array(0.7, np.float32),
        "point_coords": np.array(BOXES, np.float32).reshape(3, 2, 2),
        "point_labels": np.array([[2, 3], [2, 3], [-2, -2]], np.float32),
        "boxes": np.array(BOXES, np.float32),
        "tile_prompts": np.array([0, 2, 2, 1], np.int32),
        "tile_tokens": np.arange(4 * 32, dtype=np.int32).reshape(4, 32) * 8,
    }
    bundle = open_bundle("parts")
    boxes = np.array(BOXES, np.float32)
    geometry = Geometry.of(values["frame"].shape[1:3], bundle.detector_px, bundle.rescale_px, bundle.encoder_px)
    tiles = Tiles.of(boxes, geometry)
    values |= {"tile_prompts": tiles.prompts, "tile_tokens": tiles.tokens}
    for name, graph in bundle.graphs.items():
        if name == "segment_boxes":
            values["boxes"] = boxes  # not those that detect gave
        content = float32_graph(graph.path)
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        feeds = {each.name: values[each.name] for each in session.get_inputs()}
        wanted = dict(zip([each.name for each in session.get_outputs()], session.run(None, feeds), strict=True))
        model = onnx.load_from_string(content)
        run = TorchGraph(model, Weights(model), "cpu")
        for _ in range(2):
            with torch.inference_mode():
                found = run({name: torch.from_numpy(array.copy()) for name, array in feeds.items()})
        for output, array in wanted.items():
            got = found[output].numpy()
            assert got.dtype == array.dtype
            assert got.shape == array.shape
            # Candidates of nearly equal scores may change places; the few above the threshold do not.
            rows = array[:, 4] > 0.2 if output == "candidates" else ...
            np.testing.assert_allclose(got[rows], array[rows], rtol=1e-4, atol=2e-3, err_msg=output)
        values |= wanted
    assert values["count"] > 3


def test_torch_pipeline_equals_onnxruntime(both):
    ours, other = both
    images = LINE if ours.bundle.name == "parts" else NOISE
    wanted = [other(image) for image in images]
    assert all(len(found) == 3 for found in wanted)
    for image, found in zip(images, wanted, strict=True):
        alike(ours(image), found)
    for (_, one), found in zip(ours.stream(images), wanted, strict=True):
        alike(one, found)
    embedded = ours.embed(images[0]), other.embed(images[0])
    apart, size = (float(np.std(each)) for each in (embedded[0].array - embedded[1].array, embedded[1].array))
    assert apart < 0.02 * size  # prepared by two ways
    masks = [each.segment(embedding, boxes=BOXES) for each, embedding in zip((ours, other), embedded, strict=True)]
    np.testing.assert_allclose(masks[0].logits, masks[1].logits, atol=0.03 * np.abs(masks[1].logits).max())


def alike(found, other):
    """The pipeline of ONNX Runtime prepares frames with OpenCV, so that some levels are one apart."""
    assert found.class_name.tolist() == other.class_name.tolist()
    for name in ("xyxy", "confidence", "mask_confidence"):
        np.testing.assert_allclose(getattr(found, name), getattr(other, name), atol=2e-2, err_msg=name)
    computed = (found.masks.logits != NOT_COMPUTED) & (other.masks.logits != NOT_COMPUTED)
    assert computed.any((1, 2)).all()
    wanted = other.masks.logits[computed]
    np.testing.assert_allclose(found.masks.logits[computed], wanted, atol=0.03 * np.abs(wanted).max())


def test_torch_pipeline_enqueues_where_torch_cannot_be_captured(tiny, monkeypatch):  # noqa: F811
    cuda = FakeCuda().install(monkeypatch)
    runner = FakeRunner(cuda)
    with Segmenter(open_bundle(tiny), open_torch_pipeline(open_bundle(tiny), open_gpu(), runner)) as captured:
        wanted = captured(NOISE[0])
        assert not captured.pipeline.not_captured
    runner.capture_refusal = "torch does not take part in captures"
    with Segmenter(open_bundle(tiny), open_torch_pipeline(open_bundle(tiny), open_gpu(), runner)) as enqueued:
        found = enqueued(NOISE[0])
        reasons = enqueued.pipeline.not_captured
    assert set(reasons) >= {"detect", "embed"}
    assert all("torch does not take part in captures" in reason for reason in reasons.values())
    alike(found, wanted)
    cuda.check()
