"""Time of masks on the host, on one core: crops and run lengths from a decoder's logits.

    python benchmarks/masks.py
    python benchmarks/masks.py --frame 1920x1080 --encoder 512 --json masks.json

Ten objects of usual size (their boxes fill 8 % of the frame on average, the largest at most 60 %), ten with boxes of
400x400 and of 600x600 pixels, where the frame holds them, and the run lengths of fifty of usual size. Against nanoseg
stand its first way, which computed every pixel of a region (`plain`), `cv2.resize` of the logits to the whole frame,
and pycocotools, which encodes masks of the whole frame that are there already. The benchmark fails unless pixels and
run lengths are those of the plain way, and run lengths those of pycocotools; OpenCV's other pixels are counted.

All take turns in one process; the medians are of the thread's CPU time, so that other load counts only for its caches.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pycocotools.mask as coco

import common
import plain_masks
from mask_objects import masks_in, square_boxes, usual_boxes
from nanoseg.errors import NanosegError
from nanoseg.processing.geometry import Geometry
from nanoseg.processing.masks import Masks

OBJECTS, ENCODED = 10, 50
SIDES_PX = (400, 600)


def plain_crops(masks: Masks) -> list[np.ndarray]:
    """Return the masks in their regions, every pixel computed."""
    return [plain_masks.crop(one, masks.geometry, masks.region(index)) for index, one in enumerate(masks.logits)]


def plain_rles(masks: Masks) -> list[dict[str, Any]]:
    """Return run lengths by way of all pixels of the regions."""
    regions = [masks.region(index) for index in range(len(masks))]
    frame_hw = masks.geometry.frame_hw
    return [
        plain_masks.encode(crop, region.left, region.top, frame_hw)
        for crop, region in zip(plain_crops(masks), regions, strict=True)
    ]


def opencv_frames(masks: Masks) -> list[np.ndarray]:
    """Return the masks in the whole frame by `cv2.resize`."""
    height, width = masks.geometry.frame_hw
    rows, columns = masks.geometry.cells(masks.logits.shape[-1])[1]
    return [cv2.resize(one[:rows, :columns], (width, height)) > 0 for one in masks.logits]


def medians_ms(works: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Run all in turn, once to warm up; return the median CPU time of each in milliseconds."""
    spent: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds + 1):
        for name, work in works.items():
            started = time.thread_time()
            work()
            spent[name].append((time.thread_time() - started) * 1e3)
    return {name: round(statistics.median(values[1:]), 3) for name, values in spent.items()}


def measure_crops(name: str, masks: Masks, rounds: int) -> dict[str, Any]:
    """Return the times of a set's crops, and the differences from OpenCV's pixels."""
    indices = range(len(masks))
    for index, plain in enumerate(plain_crops(masks)):
        if not np.array_equal(masks.crop(index).mask, plain):
            raise NanosegError(f"{name}: mask {index} is not that of the plain way")
    works: dict[str, Callable[[], object]] = {
        f"{name}_ms": lambda: [masks.crop(index) for index in indices],
        f"{name}_plain_ms": lambda: plain_crops(masks),
        f"{name}_opencv_ms": lambda: opencv_frames(masks),
        f"{name}_full_ms": masks.full,
        f"{name}_stability_ms": masks.stability,
    }
    unlimited = Masks(masks.logits, masks.confidence, masks.geometry).full()
    differ = np.count_nonzero(unlimited != np.stack(opencv_frames(masks)))
    return {**medians_ms(works, rounds), f"{name}_opencv_differs_px": int(differ)}


def measure_rles(masks: Masks, rounds: int) -> dict[str, Any]:
    """Return the times of run lengths."""
    frames = [np.asfortranarray(mask.view(np.uint8)) for mask in masks.full()]
    theirs = [{**found, "counts": found["counts"].decode()} for found in map(coco.encode, frames)]
    for name, found in (("rles()", masks.rles()), ("plain", plain_rles(masks)), ("one by one", one_by_one(masks))):
        if found != theirs:
            raise NanosegError(f"rle: the run lengths of {name} are not those of pycocotools")
    works: dict[str, Callable[[], object]] = {
        "rle_ms": masks.rles,
        "rle_one_by_one_ms": lambda: one_by_one(masks),
        "rle_plain_ms": lambda: plain_rles(masks),
        "rle_pycocotools_ms": lambda: [coco.encode(frame) for frame in frames],
    }
    return medians_ms(works, rounds)


def one_by_one(masks: Masks) -> list[dict[str, Any]]:
    """Return the run lengths of one mask a call."""
    return [masks.rle(index) for index in range(len(masks))]


def main() -> int:
    """Parse, measure, print."""
    parser = common.flags(__doc__, frame="1280x720", rounds=40)
    parser.add_argument("--encoder", type=int, default=1024, help="side of the encoder's input, pixels")
    options = parser.parse_args()

    def report(size_wh: tuple[int, int]) -> dict[str, Any]:
        cv2.setNumThreads(1)
        encoder_px = common.numbers(str(options.encoder), " ", "--encoder", "a side in pixels")[0]
        geometry = Geometry.of(size_wh[::-1], 640, 636, encoder_px)
        sets = {"usual": usual_boxes(OBJECTS, size_wh)}
        sets |= {f"{side}px": square_boxes(OBJECTS, side, size_wh) for side in SIDES_PX if side <= min(size_wh)}
        found: dict[str, Any] = {"frame": options.frame, "encoder_px": encoder_px, "objects": OBJECTS}
        for name, boxes in sets.items():
            found |= measure_crops(name, masks_in(boxes, geometry), options.rounds)
        found["encoded"] = ENCODED
        return found | measure_rles(masks_in(usual_boxes(ENCODED, size_wh), geometry), options.rounds)

    return common.run("masks", options, report)


if __name__ == "__main__":
    sys.exit(main())
