"""Polygons along the borders of pixels: pycocotools makes the same mask of them, whatever its shape."""

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2")
coco = pytest.importorskip("pycocotools.mask", reason="needs nanoseg[eval]")

from nanoseg.processing.polygons import join_polygons, mask_polygons  # noqa: E402


def drawn(*rows: str) -> np.ndarray:
    return np.array([[letter == "#" for letter in row] for row in rows], bool)


def disc(height: int, width: int, *circles: tuple[int, int, int, int]) -> np.ndarray:
    image = np.zeros((height, width), np.uint8)
    for x, y, radius, value in circles:
        cv2.circle(image, (x, y), radius, value, -1)
    return image.astype(bool)


def decoded(polygons: list[np.ndarray], height_width: tuple[int, int]) -> np.ndarray:
    flat = [polygon.ravel().astype(float).tolist() for polygon in polygons]
    return coco.decode(coco.merge(coco.frPyObjects(flat, *height_width))).astype(bool)


def area(polygons: list[np.ndarray]) -> float:
    return sum(abs(cv2.contourArea(polygon.astype(np.float32))) for polygon in polygons)


SHAPES = {
    "one pixel": drawn("....", ".#..", "...."),
    "two pixels": drawn("##"),
    "one row": drawn(".#####."),
    "one column": drawn(".", "#", "#", "#", "."),
    "full frame": np.ones((5, 7), bool),
    "one pixel frame": np.ones((1, 1), bool),
    "falling diagonal": np.eye(9, dtype=bool),
    "rising diagonal": np.eye(9, dtype=bool)[::-1],
    "crossing diagonals": np.eye(9, dtype=bool) | np.eye(9, dtype=bool)[::-1],
    "touching corners": drawn("##..", "##..", "..##", "..##"),
    "a hole": drawn("####", "#..#", "####"),
    "two holes": drawn("#######", "#.#.#.#", "#######"),
    "holes that touch at a corner": drawn("#####", "#.###", "##.##", "#####"),
    "a hole at a corner of the outline": drawn("###", "#.#", "##."),
    "an island in a hole": drawn("#####", "#...#", "#.#.#", "#...#", "#####"),
    "a spiral": drawn("######", ".....#", "####.#", "#..#.#", "#.##.#", "#....#", "######"),
    "a chequerboard": np.indices((6, 7)).sum(0) % 2 == 0,
    "two parts": drawn("##...", "##...", "...##"),
    "a ring": disc(120, 160, (70, 60, 50, 1), (60, 55, 20, 0)),
    "a washer at the edge": disc(100, 100, (0, 0, 60, 1), (0, 0, 20, 0)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_mask_polygons_round_trip(name: str) -> None:
    mask = SHAPES[name]
    polygons = mask_polygons(mask)
    assert np.array_equal(decoded(polygons, mask.shape), mask)
    assert area(polygons) == mask.sum()
    assert all(polygon.dtype == np.int32 and len(polygon) >= 4 for polygon in polygons)
    assert len(polygons) == cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[0] - 1


@pytest.mark.parametrize("seed", range(60))
def test_mask_polygons_round_trip_of_noise(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random(rng.integers(1, 40, 2)) < rng.random()
    polygons = mask_polygons(mask)
    assert area(polygons) == mask.sum()
    if mask.any():
        assert np.array_equal(decoded(polygons, mask.shape), mask)


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (4, 6)])
def test_mask_polygons_of_an_empty_mask(shape: tuple[int, int]) -> None:
    assert mask_polygons(np.zeros(shape, bool)) == []


def test_mask_polygons_are_moved_to_their_place() -> None:
    whole = np.zeros((30, 40), bool)
    whole[7:12, 11:19] = True
    whole[9, 14] = False
    moved = mask_polygons(whole[5:20, 10:30], 10, 5)
    assert [polygon.tolist() for polygon in moved] == [polygon.tolist() for polygon in mask_polygons(whole)]
    assert np.array_equal(decoded(moved, whole.shape), whole)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("tolerance_px", [0.5, 1, 3, 100])
def test_mask_polygons_with_a_tolerance_are_still_polygons(name: str, tolerance_px: float) -> None:
    mask = SHAPES[name]
    polygons = mask_polygons(mask, tolerance_px=tolerance_px)
    assert polygons
    assert all(len(polygon) >= 3 for polygon in polygons)
    assert decoded(polygons, mask.shape).shape == mask.shape


def test_mask_polygons_with_a_tolerance_have_fewer_corners() -> None:
    mask = disc(300, 300, (150, 150, 120, 1), (150, 150, 40, 0))
    corners, ious = [], []
    for tolerance_px in (0, 1, 2):
        polygons = mask_polygons(mask, tolerance_px=tolerance_px)
        again = decoded(polygons, mask.shape)
        corners.append(sum(len(polygon) for polygon in polygons))
        ious.append((again & mask).sum() / (again | mask).sum())
    assert corners[0] > 4 * corners[1] > 4 * corners[2]
    assert ious[0] == 1
    assert ious[2] > 0.97


def test_join_polygons_of_noise_is_quick_and_keeps_the_area() -> None:
    mask = np.random.default_rng(0).random((300, 300)) < 0.4
    joined = join_polygons(mask_polygons(mask))
    assert area([joined]) == pytest.approx(mask.sum(), rel=1e-6)
