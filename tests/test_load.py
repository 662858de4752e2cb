"""`nanoseg.load` on a bundle of tiny networks: real files, real ONNX Runtime, the whole chain."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import nanoseg
from nanoseg.backends.ort.chain import OrtChain
from nanoseg.errors import BundleError, EngineError, UsageError
from nanoseg.prepare import Preparer
from nanoseg.segmenter import Segmenter
from nanoseg.types import Frame
from tests.conftest import ROOT
from tests.data.fill_weights import image_u8

pytest.importorskip("onnxruntime", reason="needs nanoseg[cpu]")
pytest.importorskip("onnx", reason="needs nanoseg[bundle]")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    from nanoseg.graphs.make import Recipe, make_bundle
    from tests import tiny_networks as tiny

    folder = tmp_path_factory.mktemp("tiny")
    (folder / "labels.txt").write_text("bolt\nnut\ngear\n")
    recipe = Recipe(
        detector=tiny.some_detector(folder / "detector.onnx"),
        encoder=tiny.encoder(folder / "encoder.onnx"),
        decoder=tiny.decoder(folder / "decoder.onnx"),
        name="tiny",
        labels=folder / "labels.txt",
        rescale_px=60,
    )
    return make_bundle(recipe, folder / "bundle").path


def test_a_frame_through_every_graph(bundle):
    from tests.tiny_networks import run

    image = image_u8(1, 48, 80)
    with nanoseg.load(bundle, "onnxruntime", confidence=0.5, iou=0.6) as segmenter:
        found = segmenter(image)
    assert segmenter.device.startswith("CPU")
    prepared = Preparer(64, 60, 64)(image)
    geometry = prepared.geometry.vector()
    thresholds = {"confidence": np.float32(0.5), "iou": np.float32(0.6)}
    rows = run(bundle / "detect.onnx", images=prepared.images, geometry=geometry, **thresholds)
    boxes = prepared.geometry.clip(rows["boxes"][: int(rows["count"])])
    kept = np.flatnonzero((boxes[:, 0] < boxes[:, 2]) & (boxes[:, 1] < boxes[:, 3]))
    assert len(found) == len(kept) > 16  # more than one call of the decoder
    np.testing.assert_allclose(found.xyxy, boxes[kept], atol=1e-4)
    np.testing.assert_allclose(found.confidence, rows["scores"][kept], atol=1e-6)
    assert found.class_name.tolist() == [("bolt", "nut", "gear")[i] for i in rows["class_ids"][kept]]
    masks = run(
        bundle / "segment.onnx",
        image_embeddings=run(bundle / "embed.onnx", image=prepared.image)["image_embeddings"],
        point_coords=found.xyxy.reshape(-1, 2, 2),
        point_labels=np.tile(np.float32([2, 3]), (len(kept), 1)),
        geometry=geometry,
    )
    np.testing.assert_allclose(found.masks.logits, masks["low_res_masks"][:, 0], atol=1e-4)
    np.testing.assert_allclose(found.mask_confidence, masks["iou_predictions"][:, 0], atol=1e-5)


def test_prompts_of_unequal_length_on_one_embedding(bundle):
    with nanoseg.load(str(bundle)) as segmenter:
        embedding = segmenter.embed(Frame(image_u8(2, 60, 50)))
        masks = segmenter.segment(embedding, points=[[[5, 6]], [[7, 8], [20, 30]]], labels=[[1], [1, 0]])
        assert masks.full().shape == (2, 60, 50)
        assert segmenter.segment(embedding, boxes=[1, 2, 30, 40]).full().shape == (1, 60, 50)


@pytest.fixture(scope="module")
def parts():
    """The embedded bundle on one frame of the line, whose decoder is SAM's."""
    from nanoseg.sources.parts import Line

    with nanoseg.load("parts") as segmenter:
        frame = Line(5).frame(20)
        yield segmenter, frame, segmenter.embed(frame)


MIXTURE = {
    "boxes": [[300, 220, 450, 370], None, [20, 30, 200, 190], None, [0, 0, 640, 480]],
    "points": [[[380, 300], [310, 230]], [[100, 100]], None, [[200, 200], [220, 210], [90, 400]], []],
    "labels": [[1, 0], [1], None, [1, 1, 0], []],
}


def close(masks, others):
    np.testing.assert_allclose(masks.logits, others.logits, atol=5e-3)
    np.testing.assert_allclose(masks.confidence, others.confidence, atol=1e-4)


def test_a_mixture_in_one_call_is_each_by_itself(parts):
    segmenter, _, embedding = parts
    together = segmenter.segment(embedding, **MIXTURE)
    assert len(together) == 5
    for i in range(5):
        alone = segmenter.segment(embedding, **{name: values[i : i + 1] for name, values in MIXTURE.items()})
        np.testing.assert_allclose(together.logits[i], alone.logits[0], atol=5e-3)
        np.testing.assert_allclose(together.confidence[i], alone.confidence[0], atol=1e-4)
    order = [3, 0, 4, 2, 1]
    turned = segmenter.segment(embedding, **{k: [values[i] for i in order] for k, values in MIXTURE.items()})
    np.testing.assert_allclose(turned.logits, together.logits[order], atol=5e-3)


@pytest.mark.parametrize("where", [0, 1, 2])
def test_absent_points_change_nothing_and_a_padding_point_does(parts, where):
    segmenter, _, embedding = parts
    points, labels = [[380.0, 300], [310, 230]], [1, 0]
    plain = segmenter.segment(embedding, points=[points], labels=[labels])
    far = [[[*points[:where], [77, 99], [5, 5], *points[where:]]], [[*labels[:where], -2, -2, *labels[where:]]]]
    close(segmenter.segment(embedding, points=far[0], labels=far[1]), plain)
    padded = [[*points, [0, 0], [0, 0]]], [[*labels, -1, -1]]
    other = segmenter.segment(embedding, points=padded[0], labels=padded[1])
    assert np.abs(other.logits - plain.logits).max() > 0.1


def test_a_found_box_is_answered_again_when_asked_for(parts):
    segmenter, frame, embedding = parts
    found = segmenter(frame)
    assert len(found) > 1
    asked = segmenter.segment(embedding, boxes=found.xyxy)
    close(asked, found.masks)
    # Only what lies beyond the boxes differs.
    for detected, whole, (left, top, right, bottom) in zip(
        found.mask, asked.full(), found.xyxy.astype(int), strict=True
    ):
        assert not (detected & ~whole).any()
        np.testing.assert_array_equal(detected[top:bottom, left:right], whole[top:bottom, left:right])


@pytest.mark.parametrize("resize", ["pil", "nanosam"])
def test_other_ways_of_resizing_find_nearly_the_same(parts, resize):
    pytest.importorskip("PIL", reason="needs nanoseg[eval]")
    segmenter, frame, embedding = parts
    boxes = segmenter(frame).xyxy
    usual = segmenter.segment(embedding, boxes=boxes)
    with nanoseg.load("parts", resize=resize) as other:
        its_embedding = other.embed(frame)
        assert its_embedding.geometry.resize == resize
        assert (its_embedding.array != embedding.array).any()
        masks = other.segment(its_embedding, boxes=boxes)
    for one, two in zip(usual.full(), masks.full(), strict=True):
        assert (one & two).sum() / (one | two).sum() > 0.9


def test_sams_own_export_is_asked_prompt_by_prompt(tmp_path):
    # It counts every point, an absent one too, and takes a mask.
    from nanoseg.graphs.make import Recipe, make_bundle
    from tests import tiny_networks as tiny

    sam = tiny.sam_decoder(tmp_path / "sam.onnx")
    networks = {
        "detector": tiny.some_detector(tmp_path / "detector.onnx"),
        "encoder": tiny.encoder(tmp_path / "encoder.onnx"),
    }
    (tmp_path / "labels.txt").write_text("bolt\nnut\ngear\n")
    recipe = Recipe(
        **networks, decoder=sam, mask_decoder=sam, name="sam", labels=tmp_path / "labels.txt", all_masks=True
    )
    mask = np.random.default_rng(4).normal(1, 1, (1, 16, 16)).astype(np.float32)
    given = {
        "boxes": [[5, 6, 40, 30], None, [1, 2, 30, 40]],
        "points": [None, [[9, 8], [20, 30]], [[7, 7]]],
        "labels": [None, [1, 0], [1]],
        "mask_input": [None, mask, mask],
    }
    points = [[(5, 6, 2), (40, 30, 3)], [(9, 8, 1), (20, 30, 0), (0, 0, -1)], [(7, 7, 1), (1, 2, 2), (30, 40, 3)]]
    with nanoseg.load(make_bundle(recipe, tmp_path / "bundle").path) as segmenter:
        embedding = segmenter.embed(image_u8(2, 60, 50))
        found = segmenter.segment(embedding, **given, all_masks=True)
        plain = segmenter.segment(embedding, **{**given, "mask_input": None}, all_masks=True)
    assert len(found) == 12
    for i, rows in enumerate(points):
        table = np.array([rows], np.float32)
        feeds = {
            "image_embeddings": embedding.array,
            "point_coords": embedding.geometry.to_encoder(table[..., :2]),
            "point_labels": table[..., 2],
            "orig_im_size": np.float32([60, 50]),
        }
        for masks, has_mask in ((found, i > 0), (plain, False)):
            its = {"mask_input": mask[None], "has_mask_input": np.float32([has_mask])}
            wanted = tiny.run(sam, **feeds, **its)
            np.testing.assert_allclose(masks.logits[4 * i : 4 * i + 4], wanted["low_res_masks"][0], atol=1e-3)
            np.testing.assert_allclose(masks.confidence[4 * i : 4 * i + 4], wanted["iou_predictions"][0], atol=1e-4)


def test_a_bundle_with_a_decoder_of_masks_opens_it(bundle):
    from nanoseg.backends import open_engines
    from nanoseg.bundle import open_bundle

    opened = open_bundle(bundle)
    assert list(open_engines(opened)) == ["detect", "embed", "segment"]
    masked = replace(opened, graphs={**opened.graphs, "segment_mask": opened.graphs["segment"]})
    engines = open_engines(masked)
    assert list(engines) == ["detect", "embed", "segment", "segment_mask"]
    Segmenter(masked, OrtChain(masked, engines)).close()
    with pytest.raises(EngineError, match="closed"):
        engines["segment_mask"]({name: np.zeros([s or 1 for s in spec.shape], spec.dtype)
                                 for name, spec in engines["segment_mask"].inputs.items()})  # fmt: skip


@pytest.fixture(scope="module")
def reduced(tmp_path_factory):
    from tests.tiny_bundles import reduced_and_float

    return reduced_and_float(tmp_path_factory.mktemp("reduced"))


def test_a_cpu_runs_a_reduced_bundle_as_the_float32_one(reduced, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    deployed, floats = reduced
    assert [deployed.graphs[name].precision for name in ("detect", "embed")] == ["int8", "fp16"]
    image = image_u8(3, 48, 80)
    answers = []
    for opened in (deployed, floats):
        with nanoseg.load(opened.path, "onnxruntime", confidence=0.1) as segmenter:
            answers.append(segmenter(image))
    one, other = answers
    assert len(one) == len(other) > 5
    np.testing.assert_array_equal(one.class_id, other.class_id)
    np.testing.assert_allclose(one.xyxy, other.xyxy, atol=0.05)
    np.testing.assert_allclose(one.confidence, other.confidence, atol=2e-3)
    np.testing.assert_allclose(one.masks.logits, other.masks.logits, atol=0.02 * np.abs(other.masks.logits).max())
    assert len(list(tmp_path.glob("nanoseg/cpu/1/*.onnx"))) == 2


LOADED = """
import sys
import nanoseg
from nanoseg.cli import run_command
from tests.data.fill_weights import image_u8

print("onnx" in sys.modules)
with nanoseg.load(sys.argv[1], "onnxruntime") as segmenter:
    segmenter(image_u8(1, 48, 80))
print("onnx" in sys.modules)
assert run_command(["run", "parts://?seed=1", "--bundle", sys.argv[1], "--limit", "1", "--results", "-"]) == 0
print("onnx" in sys.modules)
"""


def test_onnx_is_loaded_only_where_a_graph_has_to_be_made(reduced, tmp_path):
    """Not for a float32 bundle, and for a reduced one the first time alone."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}

    def loaded(opened):
        command = [sys.executable, "-c", LOADED, str(opened.path)]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        return [line for line in done.stdout.splitlines() if line in ("True", "False")]

    deployed, floats = reduced
    assert loaded(floats) == ["False"] * 3
    assert loaded(deployed) == ["False", "True", "True"]
    assert loaded(deployed) == ["False"] * 3


def test_what_cannot_be_loaded(tmp_path, bundle):
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
    ],
)
def test_arguments_are_refused_before_a_file_is_read(tmp_path, given, message):
    with pytest.raises(UsageError, match=message):
        nanoseg.load(tmp_path / "nothing", **given)


def test_no_engine_stays_open_where_one_cannot_be_loaded(bundle, monkeypatch):
    from nanoseg.backends import open_engines
    from nanoseg.backends.ort import engine as ort
    from nanoseg.bundle import open_bundle
    from tests.fake_ort_gpu import FakeOrtGpu

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


# In a process of its own: what tests before it left behind would be given back, or taken, in between.
FRAMES = """
import gc, json, resource, sys
import nanoseg
from nanoseg.records import record
from nanoseg.types import Frame
from tests.data.fill_weights import image_u8

sizes_hw, resident_mb = json.loads(sys.argv[2]), []
frames = [Frame(image_u8(i, *size), index=i) for i, size in enumerate(sizes_hw)]
with nanoseg.load(sys.argv[1], confidence=0.1) as segmenter:
    for i in range(2000):
        frame = frames[i % len(frames)]
        segmenter.max_objects = i % 13 + 1  # the decoder sees every number of prompts
        record(frame, segmenter(frame))
        if i % 100 == 99:
            gc.collect()
            pages = int(open("/proc/self/statm").read().split()[1])
            resident_mb.append(pages * resource.getpagesize() / 1e6)
print(json.dumps(resident_mb))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc to tell the process's memory")
@pytest.mark.parametrize("sizes_hw", [[(48, 80)], [(48, 80), (90, 40)]], ids=["one size", "two sizes in turn"])
def test_memory_is_steady_over_2000_frames(bundle, sizes_hw):
    command = [sys.executable, "-c", FRAMES, str(bundle), json.dumps(sizes_hw)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    resident_mb = json.loads(done.stdout)
    assert len(resident_mb) == 20
    assert max(resident_mb[2:]) - resident_mb[1] <= 5
