"""Tiles: every token that a box's mask needs, and the way back to logits."""

import numpy as np
import pytest

import nanoseg
from nanoseg.processing.boxes import shared_prompts
from nanoseg.processing.geometry import RESIZES, Geometry
from nanoseg.processing.masks import Masks
from nanoseg.processing.prompts import Prompts
from nanoseg.processing.tiles import NOT_COMPUTED, TILE_TOKENS, Tiles
from nanoseg.sources.open import open_source

FRAMES = ((720, 1280), (301, 97), (40, 40), (1080, 1921))


def some_boxes(frame_hw: tuple[int, int]) -> np.ndarray:
    """Boxes of all sizes, at the borders as well, one of no area and one of the whole frame."""
    height, width = frame_hw
    rng = np.random.default_rng(height)
    corners = rng.uniform(0, 1, (12, 2, 2)) * (width, height)
    boxes = np.concatenate([corners.min(1), corners.max(1)], 1)
    edge = [[0, 0, width, height], [width - 1, height - 1, width, height], [5, 5, 5, 5], [0, 0, 3, height]]
    return np.concatenate([boxes, edge]).astype(np.float32)


def blocks_of(tiles: Tiles, logits: np.ndarray) -> np.ndarray:
    """Return what a decoder answers: the blocks (T, 32, 4, 4) of these logits (N, 4g, 4g)."""
    count, grid = len(logits), logits.shape[-1] // 4
    blocks = logits.reshape(count, grid, 4, grid, 4).swapaxes(2, 3).reshape(count, grid * grid, 4, 4)
    return blocks[tiles.prompts[:, None], tiles.tokens]


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("encoder_px", [64, 512, 1024])
@pytest.mark.parametrize("frame_hw", FRAMES, ids=str)
def test_masks_of_tiles_are_those_of_all_logits(frame_hw, encoder_px, resize):
    """Of noise, so that any logit that is missing shows: pixels, regions and outlines."""
    geometry, boxes = Geometry.of(frame_hw, 640, 636, encoder_px, resize), some_boxes(frame_hw)
    side = encoder_px // 4
    logits = np.random.default_rng(side).normal(0, 5, (len(boxes), side, side)).astype(np.float32)
    confidence = np.ones(len(boxes), np.float32)
    tiles = Tiles.of(boxes, geometry)
    found = np.full_like(logits, np.nan)
    tiles.place(blocks_of(tiles, logits), found)
    wanted, got = (Masks(each, confidence, geometry, boxes) for each in (logits, found))
    for index in range(len(boxes)):
        one, other = wanted.crop(index), got.crop(index)
        full = [np.pad(each.mask, ((each.top_px, 2000), (each.left_px, 2000)))[:1080, :1921] for each in (one, other)]
        np.testing.assert_array_equal(full[0], full[1])
    computed = found != NOT_COMPUTED
    np.testing.assert_array_equal(found[computed], logits[computed])


def test_tiles_are_of_one_prompt_each_and_repeat_its_last_token():
    geometry = Geometry.of((720, 1280), 640, 636, 1024)
    boxes = some_boxes((720, 1280))
    tiles = Tiles.of(boxes, geometry)
    assert (tiles.prompts.dtype, tiles.tokens.dtype, tiles.tokens.shape[1]) == (np.int32, np.int32, TILE_TOKENS)
    np.testing.assert_array_equal(np.unique(tiles.prompts), np.arange(len(boxes)))
    for index, (left, top, right, bottom) in enumerate(tiles.windows):
        listed = tiles.tokens[tiles.prompts == index].ravel()
        wanted = (np.arange(top, bottom)[:, None] * 64 + np.arange(left, right)).ravel()
        np.testing.assert_array_equal(listed[: len(wanted)], wanted)
        assert len(listed) - len(wanted) < TILE_TOKENS
        assert (listed[len(wanted) :] == wanted[-1]).all()


def test_tiles_of_a_usual_box_are_few():
    """An object of 8 % of a picture of 1280x720 has 185 of 4096 tokens under it, 289 with the margin of its mask."""
    geometry = Geometry.of((720, 1280), 640, 636, 1024)
    tiles = Tiles.of(np.array([[500, 200, 772, 472]], np.float32), geometry)
    assert tiles.tokens.size <= 352


@pytest.mark.parametrize("resize", RESIZES)
def test_detections_of_the_embedded_bundle_have_the_masks_of_segment(resize):
    """Pixel by pixel those of a decoder that computes all logits, and its predicted IoU."""
    frame = next(iter(open_source("parts://?seed=3")))
    with nanoseg.load("parts", backend="onnxruntime", resize=resize) as segmenter:
        found, embedding = segmenter(frame), segmenter.embed(frame)
        pipeline = segmenter.pipeline
        asked, own = shared_prompts(found.xyxy)
        prompts = found.xyxy[asked]
        logits, confidence = pipeline.masks(
            "segment", embedding.handle, embedding.geometry, Prompts.from_detections(prompts)
        )
    wanted = Masks.from_output(logits, confidence, embedding.geometry, boxes=prompts).of_detections(own)
    assert len(found.xyxy) >= 3
    np.testing.assert_array_equal(found.masks.full(), wanted.full())
    np.testing.assert_array_equal(found.mask_confidence, wanted.confidence)
    assert (found.masks.logits == NOT_COMPUTED).mean() > 0.5
