"""What `nanoseg info` says of memory: as much as the pipeline takes of a made-up GPU, and as engines say themselves."""

import json
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest

from nanoseg.backends.engine import TensorSpec
from nanoseg.backends.find_device import find_device
from nanoseg.backends.tensorrt.pipeline import pipeline as pipelines
from nanoseg.backends.tensorrt.pipeline.footprint import footprint
from nanoseg.bundle import open_bundle
from nanoseg.bundle.signature import read_signature
from nanoseg.commands.info import describe
from nanoseg.engines import EngineStore
from nanoseg.errors import BundleError
from tests.backends.contract.backends import FAKES, REAL, backend
from tests.backends.contract.conftest import engines, of_sam, same, tiny  # noqa: F401
from tests.backends.contract.held import held_by
from tests.data.fill_weights import image_u8
from tests.fakes.tensorrt_plan import MEMORY_BYTES, Plan

pytest.importorskip("onnxruntime", reason="needs nanoseg[cpu]")
ORIN, DESKTOP, *_ = FAKES
FRAMES = 7  # times as much memory as other engines have: prepare's for the largest frame
BUNDLES = {"parts": "parts", "tiny": "tiny", "of_sam": "sam"}  # with the folder of their engines in tests/contract
# (what runs it, whether frames are read in pinned memory; None: as the pipeline finds out)
WAYS = {"mapped": (ORIN, True), "copied": (DESKTOP, False), "copied on an Orin": (ORIN, False)}


@pytest.fixture(params=BUNDLES)
def which(request):
    """(a bundle, the name of its folder of engines)"""
    name = request.param
    return "parts" if name == "parts" else request.getfixturevalue(name), BUNDLES[name]


def memory_of(run):
    return describe(open_bundle(run.bundle), run.engines)["memory"][0]  # those of this device come first


def taken(run):
    """Bytes of a made-up GPU, and pinned ones."""
    blocks = [each for each in run.cuda.memory.blocks if not each.freed]
    return tuple(sum(each.nbytes for each in blocks if each.kind == kind) for kind in ("device", "pinned"))


def check(run, mapped=None):
    """As many bytes as `info` says are taken: by one frame, by the masks of prompts, by a stream of frames."""
    got = memory_of(run)
    width, height = map(int, got["frame"].split("x"))
    image, bundle = image_u8(1, height, width), open_bundle(run.bundle)
    pinned = got["pinned_bytes"]
    with run.load(confidence=0.0, max_objects=3) as segmenter:
        pipeline = segmenter.pipeline
        frame = image.nbytes if pipeline.mapped else 0  # it has no copy on the GPU
        assert mapped in (None, pipeline.mapped)

        def held():
            if run.cuda is not None:
                assert held_by(pipeline._resources.gpu) == taken(run)
            return held_by(pipeline._resources.gpu)

        assert len(segmenter(image)) == 3
        blocks = {id(block): block.nbytes for block in pipeline._resources._activations.values() if block}
        activations = sum(blocks.values())  # those of prepare are of the frame that came
        assert activations <= got["activations_bytes"]
        device = activations + got["tensors_bytes"]
        # Of prompts: the boxes that are detected have a decoder of their own in one of the bundles.
        side, embedding = bundle.encoder_px // 4, segmenter.embed(image)
        prompts = {"segment": {}, "segment_mask": {"mask_input": np.zeros((1, 1, side, side), np.float32)}}
        if "segment_boxes" not in bundle.graphs:
            del prompts["segment"]
        later = {name: given for name, given in prompts.items() if name in bundle.graphs}
        outputs = sum(pipeline._decoders[name]._plan.pinned_output_bytes for name in later)
        kept = embedding.handle.memory.nbytes
        assert held() == (device - frame + kept, pinned - outputs)
        for given in later.values():
            segmenter.segment(embedding, boxes=[1, 2, 30, 40], **given)
        assert held() == (device - frame + kept, pinned)
        del embedding
        assert held() == (device - frame, pinned)
        assert len(list(segmenter.stream([image] * 3))) == 3
        assert held() == (device - frame + got["stream_bytes"] - 2 * frame, pinned + got["stream_pinned_bytes"])
    files = list(Path(got["folder"]).glob("*.engine"))
    assert got["weights_bytes"] == sum(path.stat().st_size for path in files)
    assert got["gpu_bytes"] == got["weights_bytes"] + got["activations_bytes"] + got["tensors_bytes"]


@pytest.mark.parametrize("way", WAYS)
def test_memory_equals_the_allocations(which, engines, monkeypatch, way):  # noqa: F811
    (bundle, folder), (name, mapped) = which, WAYS[way]
    if way == "copied on an Orin":
        monkeypatch.setattr(pipelines, "reads_mapped_faster", lambda resources: False)
    with backend(name, bundle, engines / folder, monkeypatch) as run:
        check(run, mapped)


@pytest.mark.gpu
def test_memory_equals_the_allocations_of_a_real_gpu(which, engines, monkeypatch):  # noqa: F811
    bundle, folder = which
    with backend("real", bundle, engines / folder, monkeypatch) as run:
        check(run)


@pytest.mark.parametrize("name", [*FAKES, REAL])
def test_memory_of_activations_equals_the_engines(which, engines, monkeypatch, name):  # noqa: F811
    """With device_memory_size_v2 of each, as the library tells it of what it has loaded."""
    bundle, folder = which
    with backend(name, bundle, engines / folder, monkeypatch) as run, run.load() as segmenter:
        loaded = segmenter.pipeline._resources.engines
        own = {name: engine._engine.device_memory_size_v2 for name, engine in loaded.items()}
        got = memory_of(run)
        decoders = max(own[name] for name in own if name.startswith("segment"))
        frames = own["prepare"] if own["prepare"] > own["detect"] else 0  # in a block of their own
        assert got["activations_bytes"] == own["detect"] + frames + own["embed"] + decoders


def test_memory_of_prepare_is_that_of_the_frames(tiny, engines, monkeypatch):  # noqa: F811
    """The engine's own is for the largest frame that it takes; more than the detector's is taken when a frame comes."""
    images, blocks = [image_u8(side, side, side * 16 // 9) for side in (135, 540, 720, 540)], []
    with backend(DESKTOP, tiny, engines / "alone", monkeypatch) as run:
        with run.load(confidence=0.2) as segmenter:
            wanted = [segmenter(image) for image in images]
        original = Plan.__init__

        def init(plan, content):
            original(plan, content)
            plan.memory *= FRAMES if "frame" in plan.inputs else 1

        monkeypatch.setattr(Plan, "__init__", init)
        with run.load(confidence=0.2) as segmenter:
            activations = segmenter.pipeline._resources._activations
            for image, found in zip(images, wanted, strict=True):
                same(segmenter(image), found)
                list(segmenter.stream([image] * 3))  # in slots of their own
                blocks.append(activations["prepare"].nbytes)
                assert activations["detect"].nbytes == MEMORY_BYTES
        graphs, device = open_bundle(tiny).graphs, find_device()[0]
        states = EngineStore(run.engines).best_states(open_bundle(tiny), device)
        records = {name: states[name].record for name in graphs}
        nbytes = FRAMES * MEMORY_BYTES
        records["prepare"] = msgspec.structs.replace(records["prepare"], device_memory_bytes=nbytes)
        signatures = {name: read_signature(graph.path) for name, graph in graphs.items()}
        assert footprint(signatures, records).activations == nbytes + 3 * MEMORY_BYTES
    shares = (0, 1 / 4, 4 / 9, 4 / 9)  # of 1920 x 1080; at first as much as the detector has
    assert blocks == pytest.approx([FRAMES * MEMORY_BYTES * max(share, 1 / FRAMES) for share in shares], abs=256)


@pytest.mark.parametrize("graph", ["prepare", "detect", "embed", "segment"])
def test_signature_equals_that_of_onnx(graph):
    path = open_bundle("parts").graphs[graph].path
    model = onnx.load(path)
    for found, values in zip(read_signature(path), (model.graph.input, model.graph.output), strict=True):
        wanted = {}
        for each in values:
            kind = each.type.tensor_type
            sides = tuple(side.dim_value or None for side in kind.shape.dim)
            wanted[each.name] = TensorSpec(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)), sides)
        assert found == wanted
        assert list(found) == list(wanted)


@pytest.mark.parametrize("content", [b"", b"prepare", b"\x3a\xff\x01abc", bytes(64), b"\x0f" * 40, b"\x3a"])
def test_signature_refuses_other_files(tmp_path, content):
    path = tmp_path / "x.onnx"
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"x\.onnx: cannot be read as ONNX") as error:
        read_signature(path)
    assert "\n" not in str(error.value)


def test_memory_is_printed_by_info(call, tiny, engines, monkeypatch):  # noqa: F811
    with backend(DESKTOP, tiny, engines / "alone", monkeypatch) as run:
        code, out, err = call("info", tiny, "--engines", run.engines, "--json")
        (got,) = json.loads(out)["memory"]
        assert (code, err, got["gpu"]) == (0, "", "NVIDIA GeForce RTX 4090")
        table = call("info", tiny, "--engines", run.engines)[1]
        assert f"{got['gpu_bytes'] / 1e6:.1f} MB of GPU memory at {got['frame']}" in table
        sidecar = next(run.engines.rglob("engines.json"))
        records = json.loads(sidecar.read_text())
        records["engines"]["embed"]["device_memory_bytes"] = None
        sidecar.write_text(json.dumps(records))
        assert json.loads(call("info", tiny, "--engines", run.engines, "--json")[1])["memory"][0]["gpu_bytes"] is None
        assert "not known: TensorRT did not report" in call("info", tiny, "--engines", run.engines)[1]
        del records["engines"]["embed"]
        sidecar.write_text(json.dumps(records))
        assert json.loads(call("info", tiny, "--engines", run.engines, "--json")[1])["memory"] == []
