"""Masks: the region alone equals the whole, the whole equals an independent bilinear interpolation."""

import numpy as np
import pytest

from nanoseg.processing import rle
from nanoseg.processing.geometry import Geometry
from nanoseg.processing.masks import Masks, RasterMasks
from nanoseg.processing.masks import positive as masks_positive
from nanoseg.processing.upsampling import Region, pixel_axis, upsample
from tests.data.fill_weights import normal_f32

FRAMES = [(480, 640), (97, 161), (161, 97), (300, 300), (33, 500), (1080, 720)]


def smooth_logits(seed: int, count: int, grid: int) -> np.ndarray:
    """Blobs on a negative background, as a decoder gives them."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:grid, :grid]
    logits = np.empty((count, grid, grid), np.float32)
    for one in logits:
        cx, cy, rx, ry = rng.uniform(0, grid, 2).tolist() + rng.uniform(grid / 20, grid / 3, 2).tolist()
        one[:] = 6 * (1 - ((x - cx) / rx) ** 2 - ((y - cy) / ry) ** 2) + rng.normal(0, 0.5, (grid, grid))
    return logits


def bilinear(logits: np.ndarray, scale: tuple[float, float], cells: tuple[int, int], size_hw: tuple[int, int]):
    """The oracle: one pixel at a time, in float64."""
    out = np.empty(size_hw)
    for y in range(size_hw[0]):
        v = min(max((y + 0.5) * scale[1] - 0.5, 0), cells[0] - 1)
        for x in range(size_hw[1]):
            u = min(max((x + 0.5) * scale[0] - 0.5, 0), cells[1] - 1)
            i, j = int(v), int(u)
            below, right = min(i + 1, cells[0] - 1), min(j + 1, cells[1] - 1)
            a, b = v - i, u - j
            out[y, x] = (1 - a) * ((1 - b) * logits[i, j] + b * logits[i, right]) + a * (
                (1 - b) * logits[below, j] + b * logits[below, right]
            )
    return out


def whole_frame(logits: np.ndarray, geometry: Geometry) -> np.ndarray:
    """The values of all pixels of the frame."""
    (height, width), (sx, sy) = geometry.frame_hw, geometry.cells(len(logits))[0]
    rows, columns = geometry.cells(len(logits))[1]
    axes = pixel_axis(height, sy, rows), pixel_axis(width, sx, columns)
    return upsample(logits, *axes, Region(0, 0, width, height))


def masks_of(frame_hw, boxes=None, count=6, grid=64, seed=3):
    geometry = Geometry.of(frame_hw, 320, 318, grid * 4)
    logits = smooth_logits(seed, count, grid)
    return Masks(logits, np.linspace(1, 0, count, dtype=np.float32), geometry, boxes)


@pytest.mark.parametrize("frame_hw", FRAMES[:4])
def test_masks_upsampling_is_bilinear(frame_hw):
    geometry = Geometry.of(frame_hw, 320, 318, 128)
    logits = smooth_logits(1, 1, 32)[0]
    np.testing.assert_allclose(
        whole_frame(logits, geometry), bilinear(logits, *geometry.cells(32), frame_hw), atol=1e-4
    )


SIZES = [(97, 161), (161, 97), (480, 1300)]
GOLDEN = {"nanosam": "nanosam.{}x{}.upscaled", "pil": "sam.{}x{}.postprocessed_masks"}


@pytest.fixture(scope="module")
def golden(data):
    with np.load(data / "golden_processing.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_masks_upsampling_is_nanosams(golden, height, width):
    # NanoSAM cuts the logits off at whole cells, truncated, and stretches those over the image.
    logits = normal_f32(61, (1, 4, 256, 256))[0]
    geometry = Geometry.of((height, width), 640, 636, 1024, "nanosam")
    values = np.stack([whole_frame(one, geometry) for one in logits])
    key = GOLDEN["nanosam"].format(height, width)
    np.testing.assert_allclose(values.ravel()[:: int(golden[f"{key}.stride"])], golden[f"{key}.sample"], atol=1e-4)


@pytest.mark.parametrize("resize", GOLDEN)
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_masks_are_the_originals(golden, resize, height, width):
    logits = normal_f32(61, (1, 4, 256, 256))[0]
    geometry = Geometry.of((height, width), 640, 636, 1024, resize)
    key = GOLDEN[resize].format(height, width)
    sample = golden[f"{key}.sample"]
    found = Masks(logits, np.ones(4, np.float32), geometry).full().ravel()[:: int(golden[f"{key}.stride"])]
    np.testing.assert_array_equal(found, sample > 0)


def test_masks_by_way_of_the_square_are_cropped_as_others():
    boxes = np.array([[30, 20, 200, 150]], np.float32)
    geometry = Geometry.of((300, 400), 320, 318, 256, "pil")
    logits = smooth_logits(7, 1, 64)
    whole = Masks(logits, np.ones(1, np.float32), geometry)
    cut = Masks(logits, np.ones(1, np.float32), geometry, boxes)
    left, top, crop = cut.crop(0)
    placed = np.zeros((300, 400), bool)
    placed[top : top + crop.shape[0], left : left + crop.shape[1]] = crop
    np.testing.assert_array_equal(placed, cut.full()[0])
    np.testing.assert_array_equal(placed[20:150, 30:200], whole.full()[0][20:150, 30:200])
    assert not Masks(np.full_like(logits, -1), np.ones(1, np.float32), geometry).full().any()


@pytest.mark.parametrize("offset", [0.0, 0.5, 1.0, 3.0])
def test_masks_stability_is_the_iou_of_two_cuts(offset):
    masks = masks_of((300, 300), count=5)
    wanted = [(one > offset).sum() / (one > -offset).sum() for one in masks.logits]
    found = masks.stability(offset)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert ((found >= 0) & (found <= 1)).all()


def test_masks_empty_mask_has_no_stability():
    logits = np.stack([np.full((16, 16), level, np.float32) for level in (-5, -0.5, 5)])
    masks = Masks(logits, np.ones(3, np.float32), Geometry.of((40, 60), 64, 60, 64))
    assert masks.stability().tolist() == [0, 0, 1]
    none = Masks(np.zeros((0, 1, 1), np.float32), np.zeros(0, np.float32), masks.geometry)
    assert none.stability().shape == (0,)
    assert len(none.best()) == 0


def test_masks_best_of_each_prompt():
    masks = masks_of((300, 300), np.arange(24, dtype=np.float32).reshape(6, 4), count=6)
    assert masks.prompt.tolist() == [0, 1, 2, 3, 4, 5]
    confidence = np.float32([0.1, 0.9, 0.3, 0.7, 0.2, 0.6])
    several = Masks(masks.logits, confidence, masks.geometry, masks.boxes, np.array([0, 0, 0, 1, 1, 1]))
    best = several.best()
    np.testing.assert_array_equal(best.logits, masks.logits[[1, 3]])
    np.testing.assert_array_equal(best.boxes, masks.boxes[[1, 3]])
    assert best.confidence.tolist() == confidence[[1, 3]].tolist()
    assert best.prompt.tolist() == [0, 1]


@pytest.mark.parametrize("frame_hw", FRAMES)
def test_masks_without_boxes_the_region_loses_nothing(frame_hw):
    masks = masks_of(frame_hw)
    for index, mask in enumerate(masks.full()):
        np.testing.assert_array_equal(mask, whole_frame(masks.logits[index], masks.geometry) > 0)


@pytest.mark.parametrize("frame_hw", FRAMES)
def test_masks_with_boxes_a_mask_is_the_whole_inside_the_grown_box(frame_hw):
    height, width = frame_hw
    rng = np.random.default_rng(5)
    corners = np.sort(rng.uniform(-0.1, 1.1, (40, 2, 2)), axis=1) * (width, height)
    boxes = corners.reshape(40, 4).astype(np.float32)
    masks = masks_of(frame_hw, boxes, count=40)
    y, x = np.mgrid[:height, :width]
    for mask, whole, (x1, y1, x2, y2) in zip(masks.full(), masks_of(frame_hw, count=40).full(), boxes, strict=True):
        dx, dy = (x2 - x1) * 0.1 + 2, (y2 - y1) * 0.1 + 2
        inner = (x >= x1 - dx) & (x + 1 <= x2 + dx) & (y >= y1 - dy) & (y + 1 <= y2 + dy)
        outer = (x + 1 > x1 - dx) & (x < x2 + dx) & (y + 1 > y1 - dy) & (y < y2 + dy)
        np.testing.assert_array_equal(mask[inner], whole[inner])
        assert not mask[~outer].any()


@pytest.mark.parametrize("frame_hw", FRAMES)
def test_masks_crop_rle_and_full_agree(frame_hw):
    masks = masks_of(frame_hw)
    for index, full in enumerate(masks.full()):
        left, top, crop = masks.crop(index)
        placed = np.zeros(frame_hw, bool)
        placed[top : top + crop.shape[0], left : left + crop.shape[1]] = crop
        np.testing.assert_array_equal(placed, full)
        assert masks.rle(index) == rle.encode(full)
    assert masks.rles() == [masks.rle(index) for index in range(len(masks))]


def test_masks_materialize_computes_the_same_pixels_once(monkeypatch):
    masks = masks_of((97, 61))
    made, some = RasterMasks(masks), np.array([2, 0])
    wanted, wanted_rle = masks.full(), masks.rle(2)
    monkeypatch.setattr("nanoseg.processing.masks.positive", lambda *_: pytest.fail("made again"))
    masks.logits.fill(-5)  # as the next frame of a stream does
    np.testing.assert_array_equal(made.full(), wanted)
    np.testing.assert_array_equal(made.select(some).full(), wanted[some])
    assert made.select(some).rle(0) == made.rle(2) == wanted_rle
    assert made.rles()[2] == wanted_rle
    assert made.select(some).prompt.tolist() == [2, 0]


def test_masks_that_detections_share_are_known_and_made_once(monkeypatch):
    masks = masks_of((97, 61))
    assert masks.same.tolist() == list(range(len(masks)))
    own = np.array([1, 0, 1, 2, 0])
    shared = masks.of_detections(own)
    assert (shared.same.tolist(), shared.prompt.tolist()) == ([0, 1, 0, 3, 1], [0, 1, 2, 3, 4])
    assert len(shared.best()) == 5
    assert shared.select(np.array([4, 2, 1])).same.tolist() == [0, 1, 0]
    np.testing.assert_array_equal(shared.full(), masks.full()[own])
    made, positive = [], masks_positive
    monkeypatch.setattr(
        "nanoseg.processing.masks.positive", lambda *arguments: (made.append(1), positive(*arguments))[1]
    )
    raster = shared.materialize()
    assert len(made) == 3
    np.testing.assert_array_equal(raster.full(), masks.full()[own])
    assert raster.select(np.array([2, 3])).same.tolist() == [0, 1]


def test_masks_of_all_four_of_a_box_stay_four():
    """Several masks of one prompt are not the same mask."""
    masks = masks_of((97, 61))
    boxes = np.array([[0, 0, 61, 97]], np.float32)
    four = Masks.from_output(
        np.stack([masks.logits[:3]]), np.ones((1, 3), np.float32), masks.geometry, boxes=boxes, every=True
    )
    np.testing.assert_array_equal(four.materialize().full(), four.full())
    assert len({mask.tobytes() for mask in four.full()}) == 3


def test_masks_region_is_near_the_object():
    logits = np.full((1, 64, 64), -1, np.float32)
    logits[0, 20:30, 10:40] = 1
    masks = Masks(logits, np.ones(1, np.float32), Geometry.of((480, 640), 320, 318, 256))
    # 10 pixels a cell: the cells themselves are 100..400 x 200..300, and one cell more on each side.
    assert masks.region(0) == Region(90, 190, 410, 310)


@pytest.mark.parametrize(
    "boxes", [None, np.array([[3, 4, 20, 30]], np.float32), np.array([[90, 9, 95, 9]], np.float32)]
)
def test_masks_no_positive_logit_is_an_empty_mask(boxes):
    masks = Masks(
        np.full((1, 16, 16), -1, np.float32), np.ones(1, np.float32), Geometry.of((40, 60), 64, 60, 64), boxes
    )
    assert masks.crop(0).mask.shape == (0, 0)
    assert not masks.full().any()
    assert masks.polygons(0) == []
    np.testing.assert_array_equal(rle.decode(masks.rle(0)), np.zeros((40, 60), bool))


def test_masks_none_has_no_mask():
    masks = Masks(np.zeros((0, 16, 16), np.float32), np.zeros(0, np.float32), Geometry.of((40, 60), 64, 60, 64))
    assert len(masks) == 0
    assert masks.full().shape == (0, 40, 60)


def test_masks_polygons_outline_the_mask():
    coco = pytest.importorskip("pycocotools.mask", reason="needs nanoseg[eval]")
    logits = np.full((1, 64, 64), -1, np.float32)
    logits[0, 20:30, 10:40] = 1
    logits[0, 24:27, 20:30] = -1
    logits[0, 40:44, 5:9] = 1
    masks = Masks(logits, np.ones(1, np.float32), Geometry.of((480, 640), 320, 318, 256))
    polygons = masks.polygons(0)
    assert len(polygons) == 2
    flat = [polygon.ravel().astype(float).tolist() for polygon in polygons]
    drawn = coco.decode(coco.merge(coco.frPyObjects(flat, 480, 640)))
    np.testing.assert_array_equal(drawn.astype(bool), masks.full()[0])
    assert sum(map(len, masks.polygons(0, tolerance_px=2))) < sum(map(len, polygons)) / 2
