"""segment_boxes on a made-up GPU: its graphs, batches of boxes and tiles, and what it leaves to segment."""

import numpy as np
import pytest

from nanoseg.processing.masks import Masks
from nanoseg.processing.prompts import Prompts
from nanoseg.processing.tiles import NOT_COMPUTED, Tiles
from nanoseg.sources.simulator.line import SimulatedLine
from tests.backends.contract.backends import backend
from tests.backends.tensorrt.pipeline.frames import DESKTOP

IMAGE = SimulatedLine(5).frame(20).image
BOXES = np.array([[20 + 9 * i, 30 + 5 * i, 90 + 14 * i, 120 + 9 * i] for i in range(20)], np.float32)


@pytest.fixture
def parts(engines, monkeypatch):
    with backend(DESKTOP, "parts", engines / "parts", monkeypatch) as run, run.load() as segmenter:
        yield segmenter


def answer(segmenter, boxes, own=True):
    embedding = segmenter.embed(IMAGE)
    logits, confidence = segmenter.pipeline.box_masks(embedding.handle, embedding.geometry, boxes, own=own)
    return Masks.from_output(logits, confidence, embedding.geometry, boxes=boxes)


def launched(decoder, used):
    """Note in `used` the numbers of boxes and tiles of each graph that is launched."""
    for size, graph in decoder._graphs.items():
        graph.launch = lambda size=size, launch=graph.launch: (used.append(size), launch())


def test_box_decoder_has_a_graph_for_each_number_of_boxes(parts):
    decoder = parts.pipeline._box_decoder
    assert {boxes for boxes, _ in decoder._graphs} == set(range(1, 9))
    assert {tiles for boxes, tiles in decoder._graphs if boxes == 3} == {12, 30, 72}
    assert not parts.pipeline.not_captured


@pytest.mark.parametrize("count", [1, 3, 8, 9, 20])
def test_box_decoder_answers_as_segment_does(parts, count):
    """In one graph, or in batches: two in flight, and a third that waits for the first."""
    found, embedding = answer(parts, BOXES[:count]), parts.embed(IMAGE)
    prompts = Prompts.from_detections(BOXES[:count])
    logits, confidence = parts.pipeline.masks("segment", embedding.handle, embedding.geometry, prompts)
    near = found.logits != NOT_COMPUTED
    assert near.any((1, 2)).all()
    np.testing.assert_allclose(found.logits[near], logits[:, 0][near], atol=2e-3)
    np.testing.assert_allclose(found.confidence, confidence[:, 0], atol=1e-4)


def test_box_decoder_takes_the_smallest_graph_that_holds_the_tiles(parts):
    decoder, used = parts.pipeline._box_decoder, []
    launched(decoder, used)
    small, large = [[10, 10, 40, 40]], [[5, 5, 500, 400]]
    for boxes, wanted in ((small, [(1, 4)]), (small * 2, [(2, 8)]), (large, [(1, 24)]), (small * 9, [(8, 32), (1, 4)])):
        used.clear()
        answer(parts, np.array(boxes, np.float32))
        assert used == wanted
    used.clear()
    answer(parts, np.array([[0, 0, 640, 480]], np.float32))  # 25 rows of 32 tokens, and no graph of one box has as many
    assert used == []


def test_box_decoder_batches_hold_as_many_tiles_as_the_engine_takes(parts):
    decoder = parts.pipeline._box_decoder
    whole = np.tile(np.array([[0, 0, 640, 480]], np.float32), (12, 1))
    embedding = parts.embed(IMAGE)
    tiles = Tiles.of(whole, embedding.geometry)
    batches = list(tiles.batches(decoder._plan.boxes, decoder._plan.tiles))
    assert [part.stop - part.start for part, _ in batches] == [8, 4]
    object.__setattr__(decoder, "_plan", decoder._plan._replace(tiles=60))
    batches = list(tiles.batches(decoder._plan.boxes, decoder._plan.tiles))
    assert max(len(of_part.prompts) for _, of_part in batches) <= 60
    assert [part.start for part, _ in batches][1:] == [part.stop for part, _ in batches][:-1]
    assert batches[-1][0].stop == 12


def test_box_decoder_leaves_boxes_of_too_many_tiles_to_segment(parts):
    """Of an engine that was built for a few tiles."""
    decoder, whole = parts.pipeline._box_decoder, np.array([[0, 0, 640, 480], [5, 5, 50, 50]], np.float32)
    wanted = answer(parts, whole)
    object.__setattr__(decoder, "_plan", decoder._plan._replace(tiles=8))
    found = answer(parts, whole)
    assert (found.logits != NOT_COMPUTED).all()
    near = wanted.logits != NOT_COMPUTED
    np.testing.assert_allclose(found.logits[near], wanted.logits[near], atol=2e-3)
    np.testing.assert_allclose(found.confidence, wanted.confidence, atol=1e-4)


def test_box_decoder_views_are_overwritten_and_owned_logits_are_not(parts):
    first, second = answer(parts, BOXES[:2], own=False), answer(parts, BOXES[2:4], own=False)
    assert first.logits.ctypes.data == second.logits.ctypes.data
    kept = answer(parts, BOXES[:2])
    before = kept.logits.copy()
    answer(parts, BOXES[2:4])
    np.testing.assert_array_equal(kept.logits, before)


def test_box_decoder_fills_up_numbers_of_boxes_that_have_no_graph(parts):
    """As those of an engine for 16 boxes, of which 9 and 11 have none."""
    decoder, used = parts.pipeline._box_decoder, []
    wanted = answer(parts, BOXES[:3])
    answer(parts, BOXES[10:18])  # what is left behind the batch
    for size in [size for size in decoder._graphs if size[0] == 3]:
        del decoder._graphs[size]
    launched(decoder, used)
    found = answer(parts, BOXES[:3])
    assert [boxes for boxes, _ in used] == [4]
    np.testing.assert_allclose(found.logits, wanted.logits, atol=1e-4)
    np.testing.assert_allclose(found.confidence, wanted.confidence, atol=1e-5)


def test_box_decoder_views_hold_nothing_of_the_frame_before(parts):
    for boxes in (BOXES[:12], BOXES[12:15], BOXES[:1], BOXES[:20], BOXES[3:5]):
        seen = answer(parts, boxes, own=False).logits
        np.testing.assert_array_equal(seen, answer(parts, boxes).logits)
