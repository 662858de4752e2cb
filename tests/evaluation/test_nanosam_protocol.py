"""`nanoseg eval --prompts truth` is NanoSAM's evaluation: the same written plainly, image by image and box by box.

The plain one has Pillow and torch prepare the image and stretch the logits; it shares the networks alone.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cv2")
pytest.importorskip("onnxruntime")
pytest.importorskip("pycocotools", reason="needs nanoseg[eval]")
pytest.importorskip("PIL.Image", reason="needs nanoseg[eval]")
pytest.importorskip("torch")

import torch
from PIL import Image
from pycocotools.coco import COCO

from nanoseg.backends.select import open_engines
from nanoseg.bundle import open_bundle
from tests.evaluation.coco_sets import simulated_coco

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


def prepared(image, side: int) -> np.ndarray:
    """The longest side is `side`, the other truncated; Pillow's own choice of filter; zeros right and below."""
    width, height = image.size
    shape = (side, int(side / (width / height))) if width >= height else (int(side * (width / height)), side)
    pixels = np.asarray(image.resize(shape), np.float32)
    square = np.zeros((1, 3, side, side), np.float32)
    square[0, :, : shape[1], : shape[0]] = ((pixels - np.float32(MEAN)) / np.float32(STD)).transpose(2, 0, 1)
    return square


def stretched(logits: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """The cells that the image fills, truncated, over the image; 256 of SAM's are those of any side here."""
    height, width = size_hw
    side = logits.shape[-1]
    rows, columns = (int(side * length / max(height, width)) for length in (height, width))
    part = torch.from_numpy(logits[None, None, :rows, :columns])
    return torch.nn.functional.interpolate(part, size_hw, mode="bilinear")[0, 0].numpy()


def plain_protocol(annotations: Path, images: Path) -> list[dict[str, object]]:
    """One row an annotation, crowds included, in the order of the images' ids."""
    bundle, coco = open_bundle("parts"), COCO(str(annotations))
    engines = open_engines(bundle, "onnxruntime")
    as_it_is = np.array([1, 1, 0, 0, 1, 1, 1, 1], np.float32)  # points are scaled before
    rows = []
    for image_id in sorted(coco.imgs):
        image = Image.open(images / coco.imgs[image_id]["file_name"]).convert("RGB")
        embedding = engines["embed"]({"image": prepared(image, bundle.encoder_px)})["image_embeddings"]
        scale = bundle.encoder_px / max(image.size)
        for one in coco.imgToAnns[image_id]:
            left, top, width, height = one["bbox"]
            points = np.array([[left, top], [left + width, top + height]]) * scale
            out = engines["segment"](
                {
                    "image_embeddings": embedding,
                    "point_coords": points[None].astype(np.float32),
                    "point_labels": np.array([[2, 3]], np.float32),
                    "geometry": as_it_is,
                }
            )
            best = out["iou_predictions"][0].argmax()
            found = stretched(out["low_res_masks"][0, best], (image.height, image.width)) > 0
            true = coco.annToMask(one) > 0
            union = np.count_nonzero(found | true)
            rows.append({**one, "iou": np.count_nonzero(found & true) / union if union else 0.0})
    for engine in engines.values():
        engine.close()
    return rows


def compare(annotations: Path, images: Path, out: Path, call) -> None:
    plain = plain_protocol(annotations, images)
    words = ["eval", "--images", images, "--annotations", annotations, "--out", out, "--backend", "onnxruntime"]
    assert call(*words)[0] == 0
    rows = json.loads((out / "objects.json").read_text())
    assert [(row["id"], row["iscrowd"]) for row in rows] == [(row["id"], row["iscrowd"]) for row in plain]
    assert [row["iou"] for row in rows] == pytest.approx([row["iou"] for row in plain], abs=1e-6)
    miou = json.loads((out / "report.json").read_text())["miou"]
    limits = {"all": (0, 1e10), "small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e10)}
    for name, (least, most) in limits.items():
        ious = [row["iou"] for row in plain if least <= row["area"] <= most]
        assert miou[name] == {"miou": pytest.approx(sum(ious) / len(ious), abs=1e-6), "objects": len(ious)}


def test_eval_is_the_plain_protocol_on_the_simulated_line(tmp_path, call):
    annotations = simulated_coco(tmp_path / "set", images=3, size_wh=(333, 250))
    compare(annotations, annotations.parent, tmp_path / "out", call)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["train", "val"])
def test_eval_is_the_plain_protocol_on_photographs(part, shared, tmp_path, call):
    folder = shared / "coco-mini" / "instances"
    if not folder.is_dir():
        pytest.skip("needs the photographs of ../shared/coco-mini")
    compare(folder / f"{part}.json", folder / part, tmp_path / "out", call)
