"""A detector of coloured cells, one of whose three layers is sensitive to INT8, and labelled images for it."""

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import helper

from tests.helpers.tiny_detectors import CELLS
from tests.helpers.tiny_networks import DETECTOR_PX, save

LABELS = ("red", "green", "blue")
BGR = {"red": (0, 0, 255), "green": (0, 255, 0), "blue": (255, 0, 0)}
LARGE_WEIGHT = 1000.0  # a weight for a channel that is never active: the others round to nothing beside it


def colour_detector(path: Path, labels: tuple[str, ...] | None = LABELS) -> Path:
    """Write a detector of red, green and blue cells of 16 x 16 pixels; its layers are stem, spoilt and head."""
    eye = np.eye(3, dtype=np.float32)
    constants: dict[str, np.ndarray] = {
        "stem.weight": np.concatenate([eye, np.zeros((1, 3))]).reshape(4, 3, 1, 1).astype(np.float32),
        "spoilt.weight": np.concatenate([eye, np.full((3, 1), LARGE_WEIGHT)], 1).reshape(3, 4, 1, 1).astype(np.float32),
        "head.weight": np.ascontiguousarray(np.broadcast_to(eye[..., None, None] * (20 / 256), (3, 3, 16, 16))),
        "head.bias": np.full(3, -12, np.float32),
        "rows": np.array([1, 3, 16]),
        "corners": np.concatenate([CELLS, CELLS + 16], 1)[None].astype(np.float32),
        "nothing": np.zeros((3, 4), np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["images", "stem.weight"], ["stem"]),
        helper.make_node("Relu", ["stem"], ["seen"]),
        helper.make_node("Conv", ["seen", "spoilt.weight"], ["spoilt"]),
        helper.make_node("Relu", ["spoilt"], ["colours"]),
        helper.make_node("Conv", ["colours", "head.weight", "head.bias"], ["head"], strides=[16, 16]),
        helper.make_node("Reshape", ["head", "rows"], ["by_class"]),
        helper.make_node("Transpose", ["by_class"], ["logits"], perm=[0, 2, 1]),
        helper.make_node("Sigmoid", ["logits"], ["scores"]),
        helper.make_node("MatMul", ["scores", "nothing"], ["growth"]),
        helper.make_node("Add", ["corners", "growth"], ["boxes"]),
    ]
    shapes = {"boxes": (1, 16, 4), "scores": (1, 16, 3)}
    save(path, {"images": (1, 3, DETECTOR_PX, DETECTOR_PX)}, shapes, nodes, constants)
    if labels is not None:
        model = onnx.load(path)
        model.metadata_props.add(key="labels", value=json.dumps(labels))
        onnx.save(model, path)
    return path


def coco_images(folder: Path, count: int = 4, names: tuple[str, ...] = LABELS) -> Path:
    """Write images of three coloured cells each and their COCO file; `names` are the categories in their order."""
    rng = np.random.default_rng(3)
    folder.mkdir(exist_ok=True)
    images, annotations = [], []
    for i in range(count):
        image = np.full((DETECTOR_PX, DETECTOR_PX, 3), 50, np.uint8)
        for cell, name in zip(rng.choice(16, 3, replace=False), LABELS, strict=True):
            left, top = CELLS[cell].astype(int).tolist()
            image[top : top + 16, left : left + 16] = BGR[name]
            row = {"id": len(annotations) + 1, "image_id": i, "category_id": 7 + names.index(name), "area": 256}
            annotations.append(row | {"bbox": [left, top, 16, 16]})
        cv2.imwrite(str(folder / f"{i}.png"), image)
        images.append({"id": i, "file_name": f"{i}.png"})
    categories = [{"id": 7 + i, "name": name} for i, name in enumerate(names)]
    path = folder / "coco.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def operators(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]
