"""Masks of the frame from a decoder's logits, and their run lengths: supervision's and OpenCV's ways against nanoseg's.

OpenCV's way is `cv2.resize` of the logits and a threshold, one mask of the whole frame for each object. supervision
has no upsampling of logits; what it does with the masks that Ultralytics' models give, floats at the network's size,
is called as it is, on probabilities. nanoseg computes each mask within its box; `full` is the same stacked over the
frame, as supervision and OpenCV give them, and `full_ratio` compares that. For run lengths, COCO's compressed ones,
supervision and pycocotools start from masks of the frame that are there already, nanoseg from the logits.

Ten objects of usual size, 8 % of the frame each on average. One thread each, and its CPU time; `differs_px` counts
the pixels within the boxes where OpenCV's masks are other ones than nanoseg's.
"""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pycocotools.mask as coco
from supervision.detection.utils.converters import mask_to_rle
from supervision.detection.utils.internal import extract_ultralytics_masks

from mask_objects import masks_in, usual_boxes
from nanoseg.processing.geometry import Geometry
from nanoseg.processing.masks import Masks
from peers.settings import Settings
from peers.turns import medians, ratio, take_turns, timed, totals

CPU = time.thread_time


def opencv_frames(masks: Masks) -> list[np.ndarray]:
    """Return the masks in the whole frame by `cv2.resize`."""
    height, width = masks.geometry.frame_hw
    rows, columns = masks.geometry.cells(masks.logits.shape[-1])[1]
    return [cv2.resize(one[:rows, :columns], (width, height)) > 0 for one in masks.logits]


def ultralytics_results(masks: Masks) -> Any:
    """Return what supervision reads of Ultralytics' results: probabilities, in the part that is the frame."""
    rows, columns = masks.geometry.cells(masks.logits.shape[-1])[1]
    data = 1 / (1 + np.exp(-masks.logits[:, :rows, :columns]))
    return SimpleNamespace(masks=SimpleNamespace(data=data), orig_shape=masks.geometry.frame_hw)


def measure(settings: Settings) -> dict[str, Any]:
    """Return medians in milliseconds, and ratios."""
    cv2.setNumThreads(1)
    boxes = usual_boxes(settings.objects, settings.size_wh)
    masks = masks_in(boxes, Geometry.of(settings.size_wh[::-1], 640, 636, 1024))
    results, indices, full = ultralytics_results(masks), range(len(masks)), masks.full()
    columns = [np.asfortranarray(mask.view(np.uint8)) for mask in full]
    sides = {
        "ours": timed(lambda _: [masks.crop(index) for index in indices], clock=CPU),
        "ours_full": timed(lambda _: masks.full(), clock=CPU),
        "opencv": timed(lambda _: opencv_frames(masks), clock=CPU),
        "supervision": timed(lambda _: extract_ultralytics_masks(results), clock=CPU),
        "ours_rle": timed(lambda _: masks.rles(), clock=CPU),
        "supervision_rle": timed(lambda _: [mask_to_rle(mask, compressed=True) for mask in full], clock=CPU),
        "pycocotools_rle": timed(lambda _: [coco.encode(mask) for mask in columns], clock=CPU),
    }
    spent = take_turns(sides, settings.rounds)
    times = {name: totals(stages) for name, stages in spent.items()}
    found = {f"{name}_ms": medians(stages)["total"] for name, stages in spent.items()}
    found |= ratio(times["ours"], times["opencv"])
    found |= ratio(times["ours"], times["supervision"], "ratio_supervision")
    found |= ratio(times["ours_full"], times["opencv"], "full_ratio")
    found |= ratio(times["ours_rle"], times["supervision_rle"], "rle_ratio_supervision")
    found |= ratio(times["ours_rle"], times["pycocotools_rle"], "rle_ratio_pycocotools")
    return {**found, "objects": settings.objects, "differs_px": differing(masks, full)}


def differing(masks: Masks, full: np.ndarray) -> int:
    """Return the number of pixels within the boxes where OpenCV's masks are not nanoseg's."""
    count = 0
    for index, mask in enumerate(opencv_frames(masks)):
        region = masks.region(index)
        part = slice(region.top, region.bottom), slice(region.left, region.right)
        count += int(np.count_nonzero(mask[part] != full[index][part]))
    return count
