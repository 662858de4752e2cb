"""The path of a frame over fake engines that take only what the real graphs take."""

import threading

import numpy as np
import pytest

from nanoseg.errors import BundleError, EngineError, UsageError
from nanoseg.processing.geometry import Geometry
from nanoseg.processing.preprocess import Preprocessor
from nanoseg.types import Frame, Prompts
from tests.data.fill_weights import image_u8
from tests.fakes.engines import GRID, E, K, R, S, fake_bundle, fake_engines, rows, segmenter_of

IMAGE = image_u8(1, 48, 64)
TWO = rows([[4, 5, 30, 40], [20, 2, 60, 30]], [0.9, 0.5], [2, 0])


SIDE = 4 * GRID


def segmenter(found=TWO, bundle=None, masks=1, **settings):
    return segmenter_of(fake_engines(found, masks), bundle, **settings)


def test_segmenter_frame_becomes_detections():
    pipeline = segmenter()
    found = pipeline(Frame(IMAGE, index=3))
    np.testing.assert_array_equal(found.xyxy, TWO["boxes"][:2])
    np.testing.assert_array_equal(found.confidence, np.float32([0.9, 0.5]))
    assert found.confidence.dtype == found.xyxy.dtype == found.mask_confidence.dtype == np.float32
    assert found.class_id.dtype == np.int64
    assert found.class_id.tolist() == [2, 0]
    assert found.class_name.tolist() == ["gear", "bolt"]
    assert found.mask.shape == (2, 48, 64)
    assert found.mask.dtype == bool
    assert found.mask[0, 20, 15]
    assert not found.mask[0, 20, 50]
    assert list(found.latency_ms) == ["prepare", "detect", "embed", "segment", "total"]
    assert found.latency_ms == pipeline.latency_ms
    assert sum(found.latency_ms.values()) <= 2 * found.latency_ms["total"]


def test_segmenter_feeds_engines_the_preprocessed_frame():
    engines = fake_engines(TWO)
    segmenter_of(engines, confidence=0.4, iou=0.6)(IMAGE)
    prepared = Preprocessor(S, R, E)(IMAGE)
    (detect,), (embed,), (segment,) = (engine.calls for engine in engines.values())
    np.testing.assert_array_equal(detect["images"], prepared.images)
    np.testing.assert_array_equal(detect["geometry"], Geometry.of((48, 64), S, R, E).vector())
    assert (float(detect["confidence"]), float(detect["iou"])) == (np.float32(0.4), np.float32(0.6))
    np.testing.assert_array_equal(embed["image"], prepared.image)
    np.testing.assert_array_equal(segment["point_coords"], TWO["boxes"][:2].reshape(2, 2, 2))
    np.testing.assert_array_equal(segment["point_labels"], [[2, 3], [2, 3]])


def test_segmenter_nothing_found_needs_neither_encoder_nor_decoder():
    engines = fake_engines(rows())
    pipeline = segmenter_of(engines)
    found = pipeline(IMAGE)
    assert len(found) == 0
    assert found.mask.shape == (0, 48, 64)
    assert found.xyxy.shape == (0, 4)
    assert found.class_name.shape == (0,)
    assert engines["embed"].calls == engines["segment"].calls == []
    assert list(found.latency_ms) == ["prepare", "detect", "total"]


def test_segmenter_clips_boxes_and_drops_those_without_area():
    boxes = [[-9, -9, 20, 20], [70, 5, 90, 20], [10, 10, 10, 30], [30, 30, 99, 99], [float("nan"), 0, 5, 5]]
    found = segmenter(rows(boxes, [0.9, 0.8, 0.7, 0.6, 0.5], [0, 1, 2, 1, 0]))(IMAGE)
    np.testing.assert_array_equal(found.xyxy, [[0, 0, 20, 20], [30, 30, 64, 48]])
    assert found.class_id.tolist() == [0, 1]
    np.testing.assert_array_equal(found.confidence, np.float32([0.9, 0.6]))


def test_segmenter_max_objects_keeps_the_most_confident():
    assert segmenter(max_objects=1)(IMAGE).class_name.tolist() == ["gear"]


def test_segmenter_sees_less_confident_boxes_without_segmenting_them():
    """Their decoder time is saved; the objects are those of a segmenter that sees no more."""
    engines = fake_engines(TWO)
    pipeline = segmenter_of(engines, confidence=0.6, max_objects=1, classes=["gear"])
    assert pipeline(IMAGE).seen is None
    pipeline.seen_confidence = 0.3
    ((_, streamed),) = pipeline.stream([IMAGE])
    for found in (pipeline(IMAGE), streamed):
        assert found.confidence.tolist() == [np.float32(0.9)]
        assert found.seen.confidence.tolist() == [np.float32(0.9), np.float32(0.5)]
        assert found.seen.class_id.tolist() == [2, 0]
    assert [float(call["confidence"]) for call in engines["detect"].calls] == [np.float32(0.6), *[np.float32(0.3)] * 2]
    assert {len(call["point_coords"]) for call in engines["segment"].calls} == {1}
    assert len(pipeline.detect(IMAGE).xyxy) == 1


def test_segmenter_finishes_nms_of_unconverged_rows():
    # Three boxes on one place: the first of each class stays; the last is below the confidence.
    boxes = [[4, 4, 20, 20], [4, 4, 20, 21], [4, 4, 20, 20], [30, 30, 40, 40]]
    pipeline = segmenter(rows(boxes, [0.5, 0.9, 0.6, 0.1], [1, 1, 0, 2], count=1, unconverged=3))
    found = pipeline(IMAGE)
    assert pipeline.unconverged_frames == 1
    np.testing.assert_array_equal(found.confidence, np.float32([0.9, 0.6]))
    assert found.class_id.tolist() == [1, 0]


def test_segmenter_returns_the_mask_of_highest_predicted_iou():
    pipeline = segmenter(masks=4)
    masks = pipeline.segment(pipeline.embed(IMAGE), boxes=[[0, 2, 30, 30]])
    assert masks.logits.shape[0] == 1
    assert masks.logits.ndim == 3
    assert masks.logits.max() == 4
    np.testing.assert_allclose(masks.confidence, [0.9])


def test_segmenter_limits_masks_of_detections_to_their_boxes_but_not_those_of_prompts():
    # A decoder that finds everything wherever it is pointed.
    pipeline = segmenter(rows([[4, 5, 30, 40]], [0.9], [2]))
    pipeline.pipeline.engines["segment"].answer = lambda feeds: {
        "low_res_masks": np.ones((len(feeds["point_coords"]), 1, SIDE, SIDE), np.float32),
        "iou_predictions": np.ones((len(feeds["point_coords"]), 1), np.float32),
    }
    found = pipeline(IMAGE).mask[0]
    assert found[20, 20]
    assert not found[:, 36:].any()
    assert pipeline.segment(pipeline.embed(IMAGE), boxes=[4, 5, 30, 40]).full().all()


def test_segmenter_embedding_outlives_the_next_frame():
    pipeline = segmenter()
    embedding = pipeline.embed(IMAGE)
    before = embedding.array.copy()
    pipeline(image_u8(2, 30, 90))
    np.testing.assert_array_equal(embedding.array, before)
    assert embedding.geometry.frame_hw == (48, 64)
    assert pipeline.segment(embedding, boxes=[]).full().shape == (0, 48, 64)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("a.png", r"image: wanted \(H, W, 3\) uint8, BGR, got str; read the file"),
        (np.zeros((4, 5), np.uint8), r"got \(4, 5\) uint8; .*cv2.COLOR_GRAY2BGR"),
        (np.zeros((4, 5, 4), np.uint8), r"got \(4, 5, 4\) uint8; .*COLOR_BGRA2BGR"),
        (np.zeros((4, 5, 3), np.float32), r"got \(4, 5, 3\) float32"),
        (np.zeros((0, 5, 3), np.uint8), r"got \(0, 5, 3\) uint8"),
        (Frame(np.zeros((4, 5, 1), np.uint8)), r"got \(4, 5, 1\) uint8"),
    ],
)
def test_segmenter_refuses_other_images(image, message):
    pipeline = segmenter()
    for call in (pipeline, pipeline.embed):
        with pytest.raises(UsageError, match=message):
            call(image)


def test_segmenter_refuses_other_embeddings_and_prompts():
    pipeline = segmenter()
    with pytest.raises(UsageError, match=r"wanted an Embedding, got ndarray; call segmenter.embed\(image\) first"):
        pipeline.segment(IMAGE, boxes=[1, 2, 3, 4])
    with pytest.raises(UsageError, match="segment: prompts wants Prompts, got list; give boxes="):
        pipeline.segment(pipeline.embed(IMAGE), prompts=[[1, 2, 3, 4]])


def test_segmenter_takes_strided_images():
    flipped = IMAGE[:, ::-1]
    pipeline = segmenter()
    pipeline(flipped)
    (fed,) = pipeline.pipeline.engines["detect"].calls
    np.testing.assert_array_equal(fed["images"], Preprocessor(S, R, E)(flipped.copy()).images)


def test_segmenter_takes_thresholds_of_a_call():
    boxes = [[i, 0, i + 9, 9] for i in range(4)]
    pipeline = segmenter(rows(boxes, [0.9, 0.8, 0.7, 0.6], [0] * 4), confidence=0.5, iou=0.6, max_objects=3)
    detect = pipeline.pipeline.engines["detect"]
    limits = {"confidence": 0.75, "iou": 0.25, "max_objects": 2}
    for call in (
        lambda **given: pipeline(IMAGE, **given).xyxy,
        lambda **given: pipeline.detect(IMAGE, **given).xyxy,
        lambda **given: next(pipeline.stream([IMAGE], **given))[1].xyxy,
    ):
        assert [len(call(**limits)), len(call()), len(call(confidence=0.0))] == [2, 3, 3]
        fed = [(float(feeds["confidence"]), float(feeds["iou"])) for feeds in detect.calls[-3:]]
        np.testing.assert_allclose(fed, [(0.75, 0.25), (0.5, 0.6), (0.0, 0.6)])
        for wrong in ({"confidence": 1.1}, {"iou": -0.1}, {"max_objects": 0}):
            with pytest.raises(UsageError, match=f"{next(iter(wrong))}: wanted"):
                call(**wrong)


def test_segmenter_finishes_nms_with_the_thresholds_of_the_call():
    boxes = [[4, 4, 20, 20], [4, 4, 20, 22], [30, 30, 40, 40]]
    pipeline = segmenter(rows(boxes, [0.9, 0.6, 0.3], [1, 1, 0], count=1, unconverged=1))
    assert len(pipeline(IMAGE, confidence=0.5, iou=0.5)) == 1
    assert len(pipeline(IMAGE, confidence=0.5, iou=0.95)) == 2
    assert len(pipeline(IMAGE, confidence=0.2, iou=0.95)) == 3


def test_segmenter_stream_gives_the_very_items_back():
    pipeline = segmenter()
    items = [Frame(IMAGE, index=7), IMAGE, Frame(IMAGE[:, ::-1])]
    pairs = list(pipeline.stream(iter(items)))
    assert all(frame is item for (frame, _), item in zip(pairs, items, strict=True))
    assert [len(found) for _, found in pairs] == [2, 2, 2]


def test_segmenter_reprs_are_short():
    pipeline = segmenter()
    assert repr(pipeline) == "Segmenter(fake on onnxruntime, fake)"
    assert repr(pipeline.embed(IMAGE)) == "Embedding(of a 64x48 frame)"
    assert repr(pipeline.detect(IMAGE)) == "Boxes(2)"
    assert repr(Prompts.of(boxes=[1, 2, 3, 4])) == "Prompts(1 of up to 2 points)"
    assert repr(Prompts.of(mask_input=[None, np.zeros((4, 4))], boxes=[[1, 2, 3, 4], None])) == (
        "Prompts(2 of up to 2 points, 1 with a mask)"
    )


@pytest.mark.parametrize("settings", [{"confidence": 1.1}, {"iou": -0.1}, {"max_objects": 0}, {"iou": float("nan")}])
def test_segmenter_refuses_thresholds_out_of_range(settings):
    with pytest.raises(UsageError, match=f"{next(iter(settings))}: wanted"):
        segmenter(**settings)


def test_segmenter_class_without_a_label_names_the_bundle():
    with pytest.raises(BundleError, match="fake: the detector found class 2, but has 2 labels"):
        segmenter(bundle=fake_bundle(labels=("bolt", "nut")))(IMAGE)


def test_segmenter_closing_closes_every_engine():
    engines = fake_engines(TWO)
    with segmenter_of(engines) as pipeline:
        pipeline(IMAGE)
    assert all(engine.closed for engine in engines.values())
    with pytest.raises(EngineError, match="closed"):
        pipeline(IMAGE)


def test_segmenter_returns_each_thread_its_own_frame():
    pipeline = segmenter()
    pictures = [image_u8(i, 30 + i, 60 - i) for i in range(4)]
    wanted = [float(pipeline.embed(picture).array.mean()) for picture in pictures]
    got = [set() for _ in pictures]

    def work(i):
        for _ in range(30):
            got[i].add(float(pipeline.embed(pictures[i]).array.mean()))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [{value} for value in wanted]


def test_segmenter_takes_as_many_rows_as_the_graph_has():
    boxes = [[i, 0, i + 9, 9] for i in range(K)]
    assert len(segmenter(rows(boxes, np.linspace(0.9, 0.3, K), [0] * K))(IMAGE)) == K
