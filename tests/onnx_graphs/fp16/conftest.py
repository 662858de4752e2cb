"""Pictures, networks and what they show, for `nanoseg fp16`."""

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import helper

from tests.data.fill_weights import image_u8
from tests.helpers.tiny_detectors import quantized_detector
from tests.helpers.tiny_networks import decoder, encoder, sam_decoder, save, some_detector
from tests.onnx_graphs.deploy.test_segment import mask_decoder
from tests.onnx_graphs.deploy.test_segment_boxes import token_decoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pictures in `pictures`, what they show in coco.json, boxes alone in two other files; an empty folder."""
    root = tmp_path_factory.mktemp("to_fp16")
    (root / "pictures").mkdir()
    (root / "empty").mkdir()
    images, found = [], []
    for i in range(3):
        name = f"{i}.png"
        cv2.imwrite(str(root / "pictures" / name), cv2.resize(image_u8(i, 12, 16), (80, 60)))
        images.append({"id": i, "file_name": name, "height": 60, "width": 80})
        for k, (left, top, right, bottom) in enumerate([(5, 5, 40, 30), (30, 10, 75, 55)]):
            polygon = [left, top, right, top, right, bottom, left, bottom]
            box = [left, top, right - left, bottom - top]
            found.append({"id": 2 * i + k + 1, "image_id": i, "category_id": 1, "bbox": box, "iscrowd": 0,
                          "area": box[2] * box[3], "segmentation": [polygon]})  # fmt: skip
    whole = {"images": images, "annotations": found, "categories": [{"id": 1, "name": "thing"}]}
    (root / "coco.json").write_text(json.dumps(whole))
    boxes = [{key: value for key, value in each.items() if key != "segmentation"} for each in found]
    (root / "boxes.json").write_text(json.dumps(whole | {"annotations": boxes}))
    empty = [each | {"segmentation": []} for each in found]
    (root / "outlines.json").write_text(json.dumps(whole | {"annotations": empty}))
    return root


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("networks")
    encoder(root / "encoder.onnx")
    encoder(root / "wider.onnx", grid=8)
    decoder(root / "decoder.onnx")
    sam_decoder(root / "sam.onnx")
    sam_decoder(root / "three.onnx", points=3)
    mask_decoder(root / "masks.onnx")
    token_decoder(root / "tokens.onnx", unit=5e-3)
    token_decoder(root / "huge.onnx")
    quantized_detector(root / "detector.onnx")
    some_detector(root / "table.onnx")
    (root / "text.onnx").write_text("no network")
    onnx.save(onnx.load(root / "encoder.onnx"), root / "apart.onnx", save_as_external_data=True, location="w.bin",
              size_threshold=0)  # fmt: skip
    (root / "w.bin").unlink()
    swollen(root / "swollen.onnx")
    return root


def swollen(path: Path, size: float = 1.5e4) -> Path:
    """An encoder whose middle is so many times as large as what it gives."""
    nodes = [
        helper.make_node("Conv", ["image", "weight"], ["patches"], strides=[16, 16]),
        helper.make_node("Mul", ["patches", "up"], ["huge"]),
        helper.make_node("Mul", ["huge", "down"], ["small"]),
        helper.make_node("Neg", ["small"], ["image_embeddings"]),
    ]
    weight = np.random.default_rng(6).normal(0, 0.05, (256, 3, 16, 16)).astype(np.float32)
    constants = {"weight": weight, "up": np.float32(size), "down": np.float32(1 / size)}
    return save(path, {"image": (1, 3, 64, 64)}, {"image_embeddings": (1, 256, 4, 4)}, nodes, constants)
