"""Segmentations: those that pycocotools reads are its masks, the others are refused before it crashes over them."""

import subprocess
import sys

import numpy as np
import pytest

coco = pytest.importorskip("pycocotools.mask", reason="needs nanoseg[eval]")

from nanoseg.evaluation.coco_masks import coco_mask  # noqa: E402

HEIGHT, WIDTH = 48, 64
NAN, INFINITY = float("nan"), float("inf")


def runs(counts: object, size: object = (HEIGHT, WIDTH)) -> dict[str, object]:
    return {"size": list(size) if isinstance(size, tuple) else size, "counts": counts}


def polygon_with(value: object) -> list[list[object]]:
    return [[1, 2, 20, 2, value, 20, 1, 20]]


# Its value, and the end of the message.
HOSTILE = {
    "NaN": (polygon_with(NAN), "the coordinate nan"),
    "infinity": (polygon_with(INFINITY), "the coordinate inf"),
    "minus infinity": (polygon_with(-INFINITY), "the coordinate -inf"),
    "1e308": (polygon_with(1e308), "the coordinate 1e\\+308"),
    "1e8": (polygon_with(1e8), "the coordinate 1e\\+08"),
    "-1e9": (polygon_with(-1e9), "the coordinate -1e\\+09"),
    "a number of 400 digits": (polygon_with(10**400), "a whole number too large"),
    "the second polygon": ([[1, 1, 9, 1, 9, 9], [1, 1, NAN, 1, 9, 9]], "the coordinate nan"),
    "odd": ([[1, 2, 3, 4, 5, 6, 7]], "an odd number of coordinates, 7"),
    "two points": ([[1, 2, 3, 4]], "a polygon of 2 points, wanted 3 or more"),
    "no point": ([[]], "a polygon of 0 points"),
    "text": ([["1", "2", "3", "4", "5", "6"]], "a polygon that is no list of numbers"),
    "flat": ([1, 2, 3, 4, 5, 6], "a polygon that is no list of numbers"),
    "truth values": ([[True] * 6], "a polygon that is no list of numbers"),
    "a number": (7, "a value of the type int"),
    "text alone": ("0 1", "a value of the type str"),
    "runs too short": (runs([5, 10]), "run lengths that do not make the 3072 pixels"),
    "runs too long": (runs([5, 10, 10**6]), "run lengths that do not make the 3072 pixels"),
    "runs beyond 31 bits": (runs([0, 2**31]), "run lengths that do not make"),
    "runs beyond 64 bits": (runs([0, 2**70, 1]), "run lengths that do not make"),
    "runs that wrap around": (runs([2**63, 2**63, 3072]), "run lengths that do not make"),
    "runs negative": (runs([-5, 10, 3067]), "run lengths that do not make"),
    "runs empty": (runs([]), "run lengths that do not make"),
    "runs in halves": (runs([0.5, 3071.5]), "counts are neither text nor whole numbers"),
    "runs missing": ({"size": [HEIGHT, WIDTH]}, "counts are neither text nor whole numbers"),
    "size huge": (runs([10**10], (100000, 100000)), "is of an image of 100000 x 100000"),
    "size negative": (runs([5, 10, 3057], (-48, -64)), "size is not height and width"),
    "size of three": (runs([3072], (48, 64, 1)), "size is not height and width"),
    "size turned": (runs([3072], (64, 48)), "is of an image of 48 x 64 pixels"),
    "size missing": ({"counts": [3072]}, "size is not height and width"),
    "text empty": (runs(""), "a run-length code that is damaged"),
    "text of junk": (runs("zzzzzzzzzzzzzzzz"), "a run-length code that is damaged"),
    "text beyond ASCII": (runs("\u00ff\ud83d"), "a run-length code that is damaged"),
    "text too long": (runs("o" * 3000 + "0"), "a run-length code that is damaged"),
    "text too short": (runs("52203"), "run lengths that do not make"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_coco_mask_refuses(name: str) -> None:
    segmentation, message = HOSTILE[name]
    with pytest.raises(ValueError, match=message):
        coco_mask(segmentation, (HEIGHT, WIDTH))


def test_coco_mask_of_hostile_values_ends_no_process() -> None:
    """All of them in one process of its own, with a limit on its memory, as a crash ends more than a test."""
    code = """
import resource
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
from nanoseg.evaluation.coco_masks import coco_mask
from tests.evaluation.test_coco_masks import HOSTILE, HEIGHT, WIDTH
for name, (segmentation, _) in HOSTILE.items():
    try:
        coco_mask(segmentation, (HEIGHT, WIDTH))
    except ValueError:
        continue
    raise SystemExit(name)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("seed", range(5))
def test_coco_mask_equals_pycocotools(seed: int) -> None:
    rng = np.random.default_rng(seed)
    polygons = [rng.uniform(-30, 90, 2 * rng.integers(3, 9)).tolist() for _ in range(seed % 3 + 1)]
    want = coco.decode(coco.merge(coco.frPyObjects(polygons, HEIGHT, WIDTH))).astype(bool)
    assert np.array_equal(coco_mask(polygons, (HEIGHT, WIDTH)), want)
    code = coco.encode(np.asfortranarray(want, np.uint8))
    assert np.array_equal(coco_mask(runs(code["counts"].decode()), (HEIGHT, WIDTH)), want)
    flat = np.concatenate([[False], want.T.ravel(), [False]])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    counts = np.diff(edges, prepend=0, append=HEIGHT * WIDTH).tolist()
    assert np.array_equal(coco_mask(runs(counts), (HEIGHT, WIDTH)), want)
