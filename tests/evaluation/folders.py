"""A COCO data set of one image."""

import json
from pathlib import Path

import cv2
import numpy as np


def coco_folder(folder: Path) -> Path:
    """Write one 40 x 30 image with a rectangle as a polygon, and a crowd; returns the annotation file."""
    cv2.imwrite(str(folder / "a.png"), np.full((30, 40, 3), 90, np.uint8))
    polygon = [10, 5, 30, 5, 30, 20, 10, 20]
    one = {"id": 1, "image_id": 7, "category_id": 9, "bbox": [10, 5, 20, 15], "area": 300, "iscrowd": 0}
    crowd = {**one, "id": 2, "iscrowd": 1, "segmentation": {"size": [30, 40], "counts": [0, 1200]}}
    annotations = folder / "a.json"
    content = {
        "images": [{"id": 7, "file_name": "a.png", "width": 40, "height": 30}],
        "annotations": [{**one, "segmentation": [polygon]}, crowd],
        "categories": [{"id": 9, "name": "nut"}, {"id": 3, "name": "bolt"}],
    }
    annotations.write_text(json.dumps(content))
    return annotations
