"""COCO data sets made of the simulated line, and detections made of their ground truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pycocotools.mask as pycoco_mask
from pycocotools.coco import COCO

from nanoseg.sources.simulator.line import LABELS, TEST_SEED, SimulatedLine

FIRST_IMAGE, FIRST_CATEGORY = 17, 5


def encoded(mask: np.ndarray) -> dict[str, Any]:
    code = pycoco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(mask.shape), "counts": code["counts"].decode()}


def run_lengths(mask: np.ndarray) -> list[int]:
    """COCO's uncompressed code, which its crowds have."""
    pixels = np.concatenate([[False], mask.T.ravel()])
    changes = np.flatnonzero(pixels[1:] != pixels[:-1])
    return np.diff(np.concatenate([[0], changes, [mask.size]])).tolist()


def simulated_coco(folder: Path, images: int = 5, seed: int = 0, size_wh: tuple[int, int] = (320, 240)) -> Path:
    """Write frames and a.json: parts of all sizes, every fourth one a crowd's, and a last image without anything."""
    folder.mkdir(exist_ok=True)
    line = SimulatedLine(TEST_SEED + seed, size_wh, objects=9, part_px=(30, 340))
    content: dict[str, Any] = {"images": [], "annotations": [], "categories": []}
    content["categories"] = [{"id": FIRST_CATEGORY + i, "name": name} for i, name in enumerate(LABELS)]
    for index in range(images):
        frame, truth = line.sample(40 * index)
        name, image_id = f"{index}.png", FIRST_IMAGE + 3 * index
        cv2.imwrite(str(folder / name), frame.image)
        content["images"].append({"id": image_id, "file_name": name, "width": size_wh[0], "height": size_wh[1]})
        for mask, (left, top, right, bottom), class_id in zip(truth.masks, truth.xyxy, truth.class_id, strict=True):
            number = len(content["annotations"])
            one = {"id": number, "image_id": image_id, "category_id": FIRST_CATEGORY + int(class_id), "iscrowd": 0}
            one["bbox"] = [float(side) for side in (left, top, right - left, bottom - top)]
            one["area"], one["segmentation"] = float(np.sum(mask)), encoded(mask)
            if number % 4 == 3:
                counts = run_lengths(mask)
                one |= {"iscrowd": 1, "segmentation": {"size": list(mask.shape), "counts": counts}}
            elif number % 4 == 1:
                one["area"] = 1024.0  # at the border of two sizes
            content["annotations"].append(one)
    content["images"].append({"id": 9000, "file_name": "0.png", "width": size_wh[0], "height": size_wh[1]})
    (folder / "a.json").write_text(json.dumps(content))
    return folder / "a.json"


def made_results(annotations: Path, seed: int) -> list[dict[str, Any]]:
    """Detections as COCO's results: objects moved or missed, parts of crowds, wrong classes, false ones."""
    rng, coco = np.random.default_rng(seed), COCO(str(annotations))
    categories, results = sorted(coco.cats), []

    def add(image: dict[str, Any], category: int, mask: np.ndarray, box: np.ndarray) -> None:
        score = float(rng.integers(1, 14)) / 16
        found = {"image_id": image["id"], "category_id": category, "score": score}
        results.append(found | {"bbox": [float(side) for side in box], "segmentation": encoded(mask)})

    for image in coco.dataset["images"]:
        height, width = image["height"], image["width"]
        rows, columns = np.mgrid[:height, :width]
        for one in coco.imgToAnns[image["id"]]:
            mask, (left, top, wide, high) = coco.annToMask(one).astype(bool), one["bbox"]
            for _ in range(int(rng.integers(0, 3))):
                down, across = (int(step) for step in rng.normal(0, 1 + 0.04 * min(wide, high), 2).round())
                moved = np.roll(mask, (down, across), (0, 1))
                category = one["category_id"] if rng.random() < 0.85 else int(rng.choice(categories))
                box = rng.normal([left + across, top + down, wide, high], [0.03 * wide, 0.03 * high] * 2)
                add(image, category, moved, np.maximum(box, [0, 0, 1, 1]))
            if one["iscrowd"]:
                half = mask & (columns < left + wide / 2)
                add(image, one["category_id"], half, np.array([left, top, wide / 2, high]))
        for _ in range(int(rng.integers(0, 5))):
            left, top = rng.uniform(0, width * 0.8), rng.uniform(0, height * 0.8)
            wide, high = rng.uniform(4, width / 2), rng.uniform(4, height / 2)
            mask = (columns >= left) & (columns < left + wide) & (rows >= top) & (rows < top + high)
            add(image, int(rng.choice(categories)), mask, np.array([left, top, wide, high]))
    return results
