"""What every backend answers."""

import numpy as np
import onnxruntime
import pytest

from nanoseg.errors import EngineError, UsageError
from nanoseg.processing.boxes import box_iou, shared_prompts
from nanoseg.processing.geometry import Geometry
from nanoseg.processing.nms import nms
from nanoseg.processing.tiles import NOT_COMPUTED
from tests.backends.contract.conftest import same
from tests.data.fill_weights import image_u8

IMAGES = [image_u8(1, 120, 160), image_u8(2, 150, 200), image_u8(3, 200, 170)]


def ask(graph, **feeds):
    """A graph's outputs by name, as it stands: ONNX Runtime would make integer operators of Q/DQ, which saturate."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(str(graph.path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    arrays = {name: np.asarray(value) for name, value in feeds.items()}
    return dict(zip(names, session.run(names, arrays), strict=True))


def one_by_one(bundle, image, confidence, iou):
    """The bundle's own graphs one after the other: boxes, scores, classes, logits of the masks, IoUs."""
    graphs = bundle.graphs
    prepared = ask(graphs["prepare"], frame=image[None])
    geometry = Geometry.of(image.shape[:2], bundle.detector_px, bundle.rescale_px, bundle.encoder_px)
    thresholds = {"confidence": np.float32(confidence), "iou": np.float32(iou)}
    rows = ask(graphs["detect"], images=prepared["images"], geometry=geometry.vector(), **thresholds)
    kept = nms(rows["boxes"], rows["scores"], rows["class_ids"], confidence, iou)
    boxes = geometry.clip(rows["boxes"][kept])
    some = (boxes[:, 0] < boxes[:, 2]) & (boxes[:, 1] < boxes[:, 3])
    kept, boxes = kept[some], boxes[some]
    asked, own = shared_prompts(boxes)
    masks = ask(
        graphs["segment"],
        image_embeddings=ask(graphs["embed"], image=prepared["image"])["image_embeddings"],
        point_coords=boxes[asked].reshape(-1, 2, 2),
        point_labels=np.tile(np.float32([2, 3]), (len(asked), 1)),
        geometry=geometry.vector(),
    )
    logits, iou = masks["low_res_masks"][own, 0], masks["iou_predictions"][own]
    return boxes, rows["scores"][kept], rows["class_ids"][kept], logits, iou


def test_segmenter_embedded_bundle_is_answered_as_by_its_graphs_one_by_one(run_parts):
    from nanoseg.sources.simulator.line import SimulatedLine

    line = SimulatedLine(5)
    with run_parts.load() as segmenter:
        for index in (20, 23):
            image, bundle = line.frame(index).image, segmenter.bundle
            found = segmenter(image)
            boxes, scores, classes, logits, iou = one_by_one(bundle, image, bundle.confidence, bundle.iou)
            assert len(found) > 3
            if run_parts.cuda:  # the very same graphs
                assert found.class_id.tolist() == classes.tolist()
                np.testing.assert_allclose(found.xyxy, boxes, atol=1e-3)
                np.testing.assert_allclose(found.confidence, scores, atol=1e-5)
                np.testing.assert_allclose(found.mask_confidence, iou[:, 0], atol=3e-5)
                near = found.masks.logits != NOT_COMPUTED
                np.testing.assert_allclose(found.masks.logits[near], logits[near], atol=2e-3)
                continue
            # Other arithmetic, and OpenCV's resizing: an object at the threshold may be there or not, all others are.
            same = (found.class_id[:, None] == classes) & (np.abs(found.xyxy[:, None] - boxes).max(2) < 4)
            pairs = np.argwhere(same & (np.abs(found.confidence[:, None] - scores) < 0.05))
            assert abs(len(found) - len(boxes)) <= 1
            assert len(pairs) >= len(boxes) - 1
            for one, other in pairs:
                mine, theirs = found.masks.logits[one] > 0, logits[other] > 0
                assert (mine & theirs).sum() / (mine | theirs).sum() > 0.97


def test_segmenter_frames_of_many_sizes_are_answered_as_by_their_graphs_one_by_one(run):
    images = [*IMAGES, image_u8(4, 90, 130)]  # the last is smaller than what prepare's engine was built for
    with run.load(confidence=0.2, iou=0.6) as segmenter:
        for image in [*images, *images]:
            found = segmenter(image)
            boxes, scores, classes, logits, iou = one_by_one(segmenter.bundle, image, 0.2, 0.6)
            assert found.class_id.tolist() == classes.tolist()
            np.testing.assert_allclose(found.xyxy, boxes, atol=1e-3)
            np.testing.assert_allclose(found.confidence, scores, atol=1e-5)
            np.testing.assert_allclose(found.mask_confidence, iou[:, 0], atol=1e-3)
            np.testing.assert_allclose(found.masks.logits, logits, atol=0.02 * np.abs(logits).max())


def greedy(bundle, image, kind):
    """Confidences and classes of what greedy NMS, box by box, keeps of the candidates of the bundle's own graph."""
    prepared = ask(bundle.graphs["prepare"], frame=image[None])
    geometry = Geometry.of(image.shape[:2], bundle.detector_px, bundle.rescale_px, bundle.encoder_px)
    thresholds = {"confidence": np.float32(0.2), "iou": np.float32(0.3)}
    rows = ask(bundle.graphs["detect"], images=prepared["images"], geometry=geometry.vector(), **thresholds)
    boxes, scores, ids = np.split(rows["candidates"], [4, 5], 1)
    kept = []
    for row in np.flatnonzero(scores > np.float32(0.2)):
        rivals = [i for i in kept if kind == "across-classes" or ids[i] == ids[row]]
        if not (box_iou(boxes[rivals], boxes[[row]]) > 0.3).any():
            kept.append(row)
    x_scale, y_scale, *offset = geometry.vector()[:4]
    left, top, right, bottom = geometry.clip((boxes[kept] - np.tile(offset, 2)) / np.tile([x_scale, y_scale], 2)).T
    kept = np.array(kept)[(left < right) & (top < bottom)]
    return scores[kept, 0], ids[kept, 0].tolist()


def check_kinds_of_nms(run, own, other):
    """Both kinds on one bundle, whose graph has the first."""
    counts = {}
    with run.load(confidence=0.2, iou=0.3) as by_default, run.load(confidence=0.2, iou=0.3, nms=other) as redone:
        for segmenter, kind in ((by_default, own), (redone, other)):
            for image in IMAGES:
                scores, ids = greedy(segmenter.bundle, image, kind)
                for found in (segmenter.detect(image), segmenter(image), next(segmenter.stream([image]))[1]):
                    assert found.class_id.tolist() == ids
                    np.testing.assert_allclose(found.confidence, scores, atol=1e-5)
                counts[kind] = counts.get(kind, 0) + len(ids)
    assert 0 < counts["across-classes"] < counts["by-class"]


def test_segmenter_nms_across_classes_of_a_bundle_by_class(run):
    check_kinds_of_nms(run, "by-class", "across-classes")


def test_segmenter_nms_by_class_of_a_bundle_across_classes(run_across):
    check_kinds_of_nms(run_across, "across-classes", "by-class")


def test_segmenter_stream_is_every_frame_by_itself(run):
    images = [IMAGES[i % 3] for i in range(7)]
    with run.load(confidence=0.2) as segmenter:
        alone = [segmenter(image) for image in images]
        count = 0
        for image, (frame, found), other in zip(images, segmenter.stream(images), alone, strict=True):
            assert frame is image
            same(found, other)
            assert list(found.latency_ms) == ["prepare", "detect", "embed", "segment", "total"]
            count += 1
        assert count == 7
        assert list(segmenter.stream([])) == []
        # Other calls may come in between.
        for (_, found), other in zip(segmenter.stream(images[:3]), alone, strict=False):
            kept = found.masks.logits.copy()
            same(segmenter(images[2]), alone[2])
            assert len(segmenter.segment(segmenter.embed(images[1]), boxes=[1, 2, 30, 40])) == 1
            np.testing.assert_array_equal(found.masks.logits, kept)
            same(found, other)


def test_segmenter_stream_results_stay_but_for_logits(run_parts):
    from nanoseg.sources.simulator.line import SimulatedLine

    images = [SimulatedLine(5).frame(i).image for i in (20, 23, 26)]
    with run_parts.load(max_objects=4) as segmenter:
        alone = [segmenter(image) for image in images]
        for (_, found), other in zip(list(segmenter.stream(images)), alone, strict=True):
            assert found.class_id.tolist() == other.class_id.tolist()
            for name in ("xyxy", "confidence", "mask_confidence"):
                np.testing.assert_allclose(getattr(found, name), getattr(other, name), atol=1e-3, err_msg=name)


def test_segmenter_one_stream_at_a_time(run):
    with run.load() as segmenter:
        first = segmenter.stream(IMAGES)
        next(first)
        with pytest.raises(UsageError, match="stream: another one of this segmenter is under way"):
            next(segmenter.stream(IMAGES))
        first.close()
        assert len(list(segmenter.stream(IMAGES))) == 3


@pytest.mark.parametrize("kind", ["call", "stream"])
def test_segmenter_any_number_of_objects(run, kind):
    with run.load(confidence=0.0) as segmenter:
        every = segmenter(IMAGES[0])
        assert len(every) > 16
        for count in (1, 2, 3, 4, 5, 7, 8, 9, 16, 17, len(every)):
            segmenter.max_objects = count
            found = segmenter(IMAGES[0]) if kind == "call" else next(segmenter.stream([IMAGES[0]]))[1]
            assert len(found) == count
            np.testing.assert_array_equal(found.xyxy, every.xyxy[:count])
            np.testing.assert_allclose(found.masks.logits, every.masks.logits[:count], atol=1e-4)


def test_segmenter_nothing_found(run):
    with run.load(confidence=1.0) as segmenter:
        for found in (segmenter(IMAGES[0]), *(found for _, found in segmenter.stream(IMAGES))):
            assert len(found) == 0
            assert list(found.latency_ms) == ["prepare", "detect", "total"]
        segmenter.confidence = 0.2
        assert len(segmenter(IMAGES[0])) > 3


def test_segmenter_thresholds_of_a_call_are_those_of_a_segmenter(run):
    limits = {"confidence": 0.3, "iou": 0.4, "max_objects": 3}
    with run.load(**limits) as segmenter:
        wanted = segmenter(IMAGES[0])
    with run.load(confidence=0.0) as segmenter:
        same(segmenter(IMAGES[0], **limits), wanted)
        for _, found in segmenter.stream([IMAGES[0]] * 3, **limits):
            same(found, wanted)
        np.testing.assert_array_equal(segmenter.detect(IMAGES[0], **limits).xyxy, wanted.xyxy)
        assert len(segmenter(IMAGES[0])) > 3


def test_segmenter_boxes_alone_are_those_of_a_call(run):
    with run.load(confidence=0.2, max_objects=5) as segmenter:
        boxes, found = segmenter.detect(IMAGES[1]), segmenter(IMAGES[1])
        np.testing.assert_array_equal(boxes.xyxy, found.xyxy)
        np.testing.assert_array_equal(boxes.class_id, found.class_id)


MIXTURE = {
    "boxes": [[20, 20, 90, 80], None, [2, 30, 50, 90], None, [0, 0, 160, 120]],
    "points": [[[30, 40], [50, 60]], [[100, 100]], None, [[20, 20], [22, 21], [90, 40]], []],
    "labels": [[1, 0], [1], None, [1, 1, 0], []],
}


def test_segmenter_mixture_of_prompts_is_each_by_itself(run):
    with run.load() as segmenter:
        embedding = segmenter.embed(IMAGES[0])
        together = segmenter.segment(embedding, **MIXTURE)
        found = segmenter(IMAGES[1])  # another frame in between
        for i in range(5):
            alone = segmenter.segment(embedding, **{name: values[i : i + 1] for name, values in MIXTURE.items()})
            np.testing.assert_allclose(together.logits[i], alone.logits[0], atol=1e-3)
            np.testing.assert_allclose(together.confidence[i], alone.confidence[0], atol=1e-4)
        many = [[i, 2, i + 60, 80] for i in range(21)]
        one_call = segmenter.segment(embedding, boxes=many)
        np.testing.assert_allclose(
            one_call.logits[20], segmenter.segment(embedding, boxes=many[20:]).logits[0], atol=1e-4
        )
        same(segmenter(IMAGES[1]), found)


def test_segmenter_embedding_of_one_segmenter_is_good_in_another(run):
    from nanoseg.segmenter import Embedding

    with run.load() as segmenter, run.load() as other:
        embedding = segmenter.embed(IMAGES[0])
        wanted = segmenter.segment(embedding, boxes=[1, 2, 90, 80])
        assert embedding.array.dtype == np.float32
        carried = Embedding.of(embedding.array, embedding.geometry)
        for one in (embedding, carried):
            np.testing.assert_array_equal(other.segment(one, boxes=[1, 2, 90, 80]).logits, wanted.logits)
        with pytest.raises((EngineError, ValueError)):
            other.segment(Embedding.of(embedding.array[:, :8], embedding.geometry), boxes=[1, 2, 90, 80])


def test_segmenter_decoder_of_one_prompt_and_of_masks(run_sam):
    mask = np.random.default_rng(4).normal(1, 1, (1, 16, 16)).astype(np.float32)
    given = {
        "boxes": [[5, 6, 140, 30], None, [1, 2, 30, 40]],
        "points": [None, [[9, 8], [20, 30]], [[7, 7]]],
        "labels": [None, [1, 0], [1]],
        "mask_input": [None, mask, mask],
    }
    with run_sam.load(confidence=0.2) as segmenter:
        found = segmenter(IMAGES[0])
        assert len(found) > 3
        embedding = segmenter.embed(IMAGES[0])
        calls = segmenter.segment(embedding, boxes=found.xyxy, all_masks=True)
        assert len(calls) == 4 * len(found)
        np.testing.assert_allclose(calls.best().logits, found.masks.logits, atol=1e-4)
        with_masks = segmenter.segment(embedding, **given)
        without = segmenter.segment(embedding, **{**given, "mask_input": None})
        np.testing.assert_allclose(with_masks.logits[0], without.logits[0], atol=1e-4)
        assert np.abs(with_masks.logits[1:] - without.logits[1:]).min(axis=(1, 2)).max() > 0
        for i in range(3):
            alone = segmenter.segment(embedding, **{name: values[i : i + 1] for name, values in given.items()})
            np.testing.assert_allclose(alone.logits[0], with_masks.logits[i], atol=1e-4)
