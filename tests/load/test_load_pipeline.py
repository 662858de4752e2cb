"""`nanoseg.load` on a bundle of tiny networks: real files, real ONNX Runtime, the whole pipeline."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import nanoseg
from nanoseg.backends.onnxruntime.pipeline import OrtPipeline
from nanoseg.errors import EngineError
from nanoseg.processing.preprocess import Preprocessor
from nanoseg.segmenter import Segmenter
from nanoseg.types import Frame
from tests.conftest import ROOT
from tests.data.fill_weights import image_u8

pytest.importorskip("onnxruntime", reason="needs nanoseg[cpu]")
pytest.importorskip("onnx", reason="needs nanoseg[bundle]")


def test_load_frame_through_every_graph(bundle):
    from tests.helpers.onnx_run import run

    image = image_u8(1, 48, 80)
    with nanoseg.load(bundle, "onnxruntime", confidence=0.5, iou=0.6) as segmenter:
        found = segmenter(image)
    assert segmenter.device.startswith("CPU")
    prepared = Preprocessor(64, 60, 64)(image)
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


def test_load_prompts_of_unequal_length_on_one_embedding(bundle):
    with nanoseg.load(str(bundle)) as segmenter:
        embedding = segmenter.embed(Frame(image_u8(2, 60, 50)))
        masks = segmenter.segment(embedding, points=[[[5, 6]], [[7, 8], [20, 30]]], labels=[[1], [1, 0]])
        assert masks.full().shape == (2, 60, 50)
        assert segmenter.segment(embedding, boxes=[1, 2, 30, 40]).full().shape == (1, 60, 50)


def test_load_sams_export_decodes_prompt_by_prompt(tmp_path):
    # It counts every point, an absent one too, and takes a mask.
    from nanoseg.bundle.make import BundleOptions, make_bundle
    from tests.helpers import tiny_networks as tiny
    from tests.helpers.onnx_run import run

    sam = tiny.sam_decoder(tmp_path / "sam.onnx")
    networks = {
        "detector": tiny.some_detector(tmp_path / "detector.onnx"),
        "encoder": tiny.encoder(tmp_path / "encoder.onnx"),
    }
    (tmp_path / "labels.txt").write_text("bolt\nnut\ngear\n")
    options = BundleOptions(
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
    with nanoseg.load(make_bundle(options, tmp_path / "bundle").path) as segmenter:
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
            wanted = run(sam, **feeds, **its)
            np.testing.assert_allclose(masks.logits[4 * i : 4 * i + 4], wanted["low_res_masks"][0], atol=1e-3)
            np.testing.assert_allclose(masks.confidence[4 * i : 4 * i + 4], wanted["iou_predictions"][0], atol=1e-4)


def test_load_bundle_with_a_decoder_of_masks_opens_it(bundle):
    from nanoseg.backends.select import open_engines
    from nanoseg.bundle import open_bundle

    opened = open_bundle(bundle)
    assert list(open_engines(opened)) == ["detect", "embed", "segment"]
    masked = replace(opened, graphs={**opened.graphs, "segment_mask": opened.graphs["segment"]})
    engines = open_engines(masked)
    assert list(engines) == ["detect", "embed", "segment", "segment_mask"]
    Segmenter(masked, OrtPipeline(masked, engines)).close()
    with pytest.raises(EngineError, match="closed"):
        engines["segment_mask"]({name: np.zeros([s or 1 for s in spec.shape], spec.dtype)
                                 for name, spec in engines["segment_mask"].inputs.items()})  # fmt: skip


# In a process of its own: what tests before it left behind would be given back, or taken, in between.
FRAMES = """
import gc, json, resource, sys
import nanoseg
from nanoseg.sinks.records import record
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
@pytest.mark.parametrize(
    "sizes_hw",
    [pytest.param([(48, 80)], marks=pytest.mark.slow), [(48, 80), (90, 40)]],
    ids=["one size", "two sizes in turn"],
)
def test_load_memory_is_steady_over_2000_frames(bundle, sizes_hw):
    command = [sys.executable, "-c", FRAMES, str(bundle), json.dumps(sizes_hw)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    resident_mb = json.loads(done.stdout)
    assert len(resident_mb) == 20
    assert max(resident_mb[2:]) - resident_mb[1] <= 5
