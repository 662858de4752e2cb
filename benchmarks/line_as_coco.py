"""The frames of nanoseg demo and their ground truth as a COCO data set, to evaluate a bundle on.

    python benchmarks/line_as_coco.py --out line --limit 300
    nanoseg eval --images line --annotations line/annotations.json --prompts detected --out line-eval

The frames are written as PNG, which loses nothing; masks are COCO's run-length codes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from nanoseg.processing import rle
from nanoseg.sources.simulator.demo_lines import DemoLines
from nanoseg.sources.simulator.line import LABELS
from nanoseg.utils.files import write_atomic
from nanoseg.utils.names import encode_json


def export(out: Path, limit: int) -> Path:
    """Write the images and annotations.json; returns that."""
    out.mkdir(parents=True, exist_ok=True)
    lines = DemoLines()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in range(limit):
        frame, truth = lines.frame(index), lines.truth(index)
        height, width = frame.size_hw
        name = f"{index:06d}.png"
        cv2.imwrite(str(out / name), frame.image)
        images.append({"id": index + 1, "file_name": name, "width": width, "height": height})
        for mask, xyxy, class_id in zip(truth.masks, truth.xyxy, truth.class_id, strict=True):
            left, top, right, bottom = xyxy.tolist()
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": index + 1,
                    "category_id": int(class_id) + 1,
                    "bbox": [left, top, right - left, bottom - top],
                    "area": int(np.count_nonzero(mask)),
                    "iscrowd": 0,
                    "segmentation": rle.encode(mask),
                }
            )
    categories = [{"id": number, "name": name} for number, name in enumerate(LABELS, 1)]
    path = out / "annotations.json"
    write_atomic(path, encode_json({"images": images, "annotations": annotations, "categories": categories}))
    return path


def main() -> None:
    """Parse and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument("--limit", type=int, default=300, metavar="N", help="number of frames (default: %(default)s)")
    options = parser.parse_args()
    print(export(options.out, options.limit))


if __name__ == "__main__":
    main()
