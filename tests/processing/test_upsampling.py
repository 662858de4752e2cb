"""The pixels of masks and their run lengths, to the bit those of a plain interpolation of every pixel."""

import numpy as np
import pytest

from nanoseg.processing import rle
from nanoseg.processing.geometry import Geometry
from nanoseg.processing.masks import Masks
from nanoseg.processing.upsampling import Region, edges, pixel_axis, positive, upsample

ROUNDED = ((704, 576), 768)  # some weights are 1
# Larger than the logits and smaller, a row and a column, and one pixel.
CASES = [
    ((720, 1280), 1024),
    ROUNDED,
    ((97, 161), 256),
    ((60, 45), 1024),
    ((1, 300), 128),
    ((300, 1), 128),
    ((1, 1), 64),
    ((48, 64), 16),
    ((33, 500), 512),
]


def plain(logits: np.ndarray, geometry: Geometry, region: Region) -> np.ndarray:
    """The values of a region's pixels: all of them, across in float32, then down."""
    (sx, sy), (rows, columns) = geometry.cells(len(logits))
    left, right, across = neighbours(region.left, region.right, sx, columns)
    above, below, down = neighbours(region.top, region.bottom, sy, rows)
    wide = logits[:, left] + (logits[:, right] - logits[:, left]) * across
    return wide[above] + (wide[below] - wide[above]) * down[:, None]


def neighbours(start: int, stop: int, scale: float, cells: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The cells before and after each pixel's centre, and the weight of the latter."""
    at = np.clip((np.arange(start, stop) + 0.5) * scale - 0.5, 0, cells - 1)
    before = np.floor(at).astype(int)
    return before, np.minimum(before + 1, cells - 1), (at - before).astype(np.float32)


def kinds_of_logits(grid: int, seed: int):
    """Noise, zeros and small integers, all sizes of float32, blobs, single cells, and all of one sign."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:grid, :grid]
    yield rng.normal(0, 1, (grid, grid))
    yield rng.integers(-1, 2, (grid, grid))
    yield rng.normal(0, 1, (grid, grid)) * 10.0 ** rng.integers(-30, 20, (grid, grid))
    yield rng.normal(0, 1, (grid, grid)) * 10.0 ** rng.integers(-45, -36, (grid, grid))
    yield 5 - np.hypot(x - grid / 2, y - grid / 3) + rng.normal(0, 0.3, (grid, grid))
    yield np.where((x == rng.integers(grid)) & (y == rng.integers(grid)), 0.5, -1)
    yield np.where((x + y) % 2, 1, -1)
    yield np.full((grid, grid), 3)
    yield np.full((grid, grid), -0.0)


def regions(height: int, width: int, seed: int):
    """The whole frame, its corners and sides, a row, a column, a pixel, an empty one, and some anywhere."""
    yield Region(0, 0, width, height)
    yield Region(width // 2, height // 2, width, height)
    yield Region(0, 0, width, (height + 1) // 2)
    yield Region(0, height - 1, width, height)
    yield Region(width - 1, 0, width, height)
    yield Region(width // 2, height // 3, width // 2 + 1, height // 3 + 1)
    yield Region(width // 2, 0, width // 2, height)
    rng = np.random.default_rng(seed)
    for _ in range(8):
        left, top = int(rng.integers(width)), int(rng.integers(height))
        yield Region(left, top, int(rng.integers(left, width)) + 1, int(rng.integers(top, height)) + 1)


def axes(geometry: Geometry, grid: int):
    (height, width), ((sx, sy), (rows, columns)) = geometry.frame_hw, geometry.cells(grid)
    return pixel_axis(height, sy, rows), pixel_axis(width, sx, columns)


@pytest.mark.parametrize(("frame_hw", "encoder_px"), CASES)
def test_positive_pixels_and_values_are_the_plain_ones_to_the_bit(frame_hw, encoder_px):
    geometry = Geometry.of(frame_hw, 640, 636, encoder_px)
    grid = encoder_px // 4
    for seed, logits in enumerate(kinds_of_logits(grid, encoder_px)):
        logits = logits.astype(np.float32)
        for region in regions(*frame_hw, seed):
            wanted = plain(logits, geometry, region)
            np.testing.assert_array_equal(upsample(logits, *axes(geometry, grid), region), wanted)
            found = positive(logits, *axes(geometry, grid), region)
            assert found.dtype == np.bool_
            assert found.flags.c_contiguous
            np.testing.assert_array_equal(found, wanted > 0, err_msg=f"logits {seed}, {region}")


@pytest.mark.parametrize(("frame_hw", "encoder_px"), [case for case in CASES if case != ROUNDED])
def test_edges_encode_as_the_plain_pixels_do(frame_hw, encoder_px):
    geometry = Geometry.of(frame_hw, 640, 636, encoder_px)
    grid = encoder_px // 4
    rows, columns = axes(geometry, grid)
    assert rows.below_one
    maps = [logits.astype(np.float32) for logits in kinds_of_logits(grid, encoder_px)]
    for region in regions(*frame_hw, 5):
        found = rle.encode_edges(*edges(maps, rows, columns, [region] * len(maps)), frame_hw)
        for logits, one in zip(maps, found, strict=True):
            frame = np.zeros(frame_hw, bool)
            frame[region.top : region.bottom, region.left : region.right] = plain(logits, geometry, region) > 0
            assert one == theirs(frame)


def theirs(mask: np.ndarray) -> dict[str, object]:
    coco = pytest.importorskip("pycocotools.mask", reason="needs nanoseg[eval]")
    found = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(side) for side in found["size"]], "counts": found["counts"].decode()}


@pytest.mark.parametrize("resize", ["cv2", "pil", "nanosam"])
@pytest.mark.parametrize(("frame_hw", "encoder_px"), [*CASES[1:], ((720, 1280), 512)])
@pytest.mark.parametrize("boxed", [False, True])
def test_masks_run_lengths_are_those_of_pycocotools(frame_hw, encoder_px, resize, boxed):
    geometry = Geometry.of(frame_hw, 640, 636, encoder_px, resize)
    logits = np.stack(list(kinds_of_logits(encoder_px // 4, 1))).astype(np.float32)
    height, width = frame_hw
    corners = np.sort(np.random.default_rng(2).uniform(-0.1, 1.1, (len(logits), 2, 2)), axis=1) * (width, height)
    boxes = corners.reshape(-1, 4).astype(np.float32) if boxed else None
    masks = Masks(logits, np.ones(len(logits), np.float32), geometry, boxes)
    wanted = [theirs(mask) for mask in masks.full()]
    assert masks.rles() == wanted
    assert [masks.rle(index) for index in range(len(masks))] == wanted
    assert masks.materialize().rles() == wanted


def test_masks_more_than_are_encoded_at_a_time_keep_their_order():
    geometry = Geometry.of((48, 64), 64, 64, 64)
    logits = np.full((50, 16, 16), -1, np.float32)
    for index, one in enumerate(logits):
        one[index % 12, index % 16 :] = index % 7 - 3  # some are empty
    logits[20:23] = 1
    masks = Masks(logits, np.ones(50, np.float32), geometry)
    assert masks.rles() == [theirs(mask) for mask in masks.full()]
    assert Masks.none(geometry).rles() == []


def test_pixel_axis_says_where_weights_round_to_one():
    frame_hw, encoder_px = ROUNDED
    geometry = Geometry.of(frame_hw, 640, 636, encoder_px)
    rows, columns = axes(geometry, 192)
    assert not rows.below_one
    row = int(np.argmax(rows.weight))
    # Two positive cells, of which the smaller one is lost: the pixel is 0, not inside.
    logits = np.full((192, 192), 1e9, np.float32)
    logits[rows.after[row]] = 1e-9
    found = positive(logits, rows, columns, Region(0, row - 2, 576, row + 3))
    assert found.all(1).tolist() == [True, True, False, True, True]
