"""`nanoseg.load` on a bundle of tiny networks: real files, real ONNX Runtime, the whole chain."""

import gc
from pathlib import Path

import numpy as np
import pytest

import nanoseg
from nanoseg.errors import BundleError, UsageError
from nanoseg.prepare import Preparer
from nanoseg.records import record
from nanoseg.types import Frame
from tests.data.fill_weights import image_u8

pytest.importorskip("onnxruntime", reason="needs nanoseg[cpu]")
pytest.importorskip("onnx", reason="needs nanoseg[bundle]")
STATM = Path("/proc/self/statm")


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


def test_what_cannot_be_loaded(tmp_path, bundle):
    with pytest.raises(BundleError):
        nanoseg.load(tmp_path / "nothing")
    with pytest.raises(UsageError, match="backend: wanted one of"):
        nanoseg.load(bundle, "tpu")
    with pytest.raises(UsageError, match="confidence: wanted"):
        nanoseg.load(bundle, confidence=2)


@pytest.mark.skipif(not STATM.exists(), reason="needs /proc to tell the process's memory")
@pytest.mark.parametrize("sizes_hw", [[(48, 80)], [(48, 80), (90, 40)]], ids=["one size", "two sizes in turn"])
def test_memory_is_steady_over_2000_frames(bundle, sizes_hw):
    import resource

    frames = [Frame(image_u8(i, *size), index=i) for i, size in enumerate(sizes_hw)]
    resident_mb = []
    with nanoseg.load(bundle, confidence=0.1) as segmenter:
        for i in range(2000):
            frame = frames[i % len(frames)]
            segmenter.max_objects = i % 13 + 1  # the decoder sees every number of prompts
            record(frame, segmenter(frame))
            if i % 100 == 99:
                gc.collect()
                resident_mb.append(int(STATM.read_text().split()[1]) * resource.getpagesize() / 1e6)
    assert max(resident_mb[2:]) - resident_mb[1] <= 5
