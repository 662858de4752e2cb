"""Whole files of every kind that a loader reads, made in a folder."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def picture() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 255, (24, 32, 3), np.uint8)


def tiffs(_: Path) -> Sequence[bytes]:
    """Return TIFF files that OpenCV does not write: BigTIFF, big-endian, planes, alpha of both kinds."""
    from tests.helpers.tiff_files import tiff

    image = np.zeros((8, 12, 4), np.uint8)
    return [tiff(image, big=True, extra=2), tiff(image, order=">", extra=1), tiff(image, planar=2, extra=0)]


def images(suffix: str) -> Callable[[Path], Sequence[bytes]]:
    def seeds(_folder: Path) -> Sequence[bytes]:
        import cv2

        return [cv2.imencode(suffix, image)[1].tobytes() for image in (picture(), picture()[:, :, 0])]

    return seeds


def videos(container: str, codec: str) -> Callable[[Path], Sequence[bytes]]:
    def seeds(_folder: Path) -> Sequence[bytes]:
        import av

        file = io.BytesIO()
        with av.open(file, "w", format=container) as out:
            stream: Any = out.add_stream(codec, rate=10)
            stream.width, stream.height = 64, 48
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            for i in range(6):
                rolled = np.roll(np.resize(picture(), (48, 64, 3)), i, 1)
                out.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(rolled), "bgr24")))
            out.mux(stream.encode())
        return [file.getvalue()]

    return seeds


def bundle_files(folder: Path) -> Path:
    from nanoseg.bundle.make import BundleOptions, make_bundle
    from tests.helpers.tiny_networks import decoder, encoder, some_detector

    if not (bundle := folder / "bundle").exists():
        networks = some_detector(folder / "d.onnx"), encoder(folder / "e.onnx"), decoder(folder / "m.onnx")
        make_bundle(BundleOptions(*networks, name="tiny", labels="nut,bolt,gear"), bundle)
    return bundle


def manifests(folder: Path) -> Sequence[bytes]:
    return [(bundle_files(folder) / "bundle.toml").read_bytes()]


def beside_manifest(folder: Path) -> None:
    for path in bundle_files(folder).iterdir():
        if path.name != "bundle.toml":
            (folder / "changed").mkdir(exist_ok=True)
            (folder / "changed" / path.name).write_bytes(path.read_bytes())


def references(folder: Path) -> Sequence[bytes]:
    return [(bundle_files(folder) / "reference.json").read_bytes()]


def networks(folder: Path) -> Sequence[bytes]:
    bundle = bundle_files(folder)
    return [path.read_bytes() for path in (folder / "d.onnx", folder / "m.onnx", bundle / "detect.onnx")]


def contract_detectors(folder: Path) -> Sequence[bytes]:
    return networks(folder)[:1]


SPECS = b"""[input]
name = "input0"
size_px = 640
layout = "nhwc"
colour = "bgr"
scale = 1.0
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]
[outputs]
joint = "output0"
transposed = true
box_form = "cxcywh"
activation = "sigmoid"
background = "last"
"""


def recipes(_folder: Path) -> Sequence[bytes]:
    from nanoseg.engines.recipe import FOLDER

    return [path.read_bytes() for path in sorted(FOLDER.glob("*.toml"))]


def engine_records(_folder: Path) -> Sequence[bytes]:
    import msgspec

    from nanoseg.engines.record import FORMAT, EngineRecords
    from tests.helpers.engine_records import record

    return [msgspec.json.encode(EngineRecords(FORMAT, {"detect": record()}))]


LABELS = (
    b"nut\nbolt\ngear\n",
    b"names:\n  0: nut\n  1: bolt\n  2: gear\n",
    b"path: x\nnc: 3\nnames: [nut, 'bolt', \"gear\"]\n",
    b'["nut", "bolt", "gear"]',
    b'{"0": "nut", "1": "bolt"}',
)


def coco_files(_folder: Path) -> Sequence[bytes]:
    polygon = [[2.0, 2.0, 20.0, 2.0, 20.0, 15.0, 2.0, 15.0]]
    objects = [
        {"id": 1, "image_id": 1, "category_id": 3, "bbox": [2, 2, 18, 13], "area": 234, "iscrowd": 0},
        {"id": 2, "image_id": 1, "category_id": 5, "bbox": [0, 0, 32, 24], "area": 768, "iscrowd": 1},
    ]
    objects[0]["segmentation"] = polygon
    objects[1]["segmentation"] = {"size": [24, 32], "counts": [0, 768]}
    images = [{"id": 1, "file_name": "picture.png", "width": 32, "height": 24}]
    categories = [{"id": 3, "name": "nut"}, {"id": 5, "name": "bolt"}]
    return [json.dumps({"images": images, "annotations": objects, "categories": categories}).encode()]


def beside_coco(folder: Path) -> None:
    import cv2

    (folder / "changed").mkdir(exist_ok=True)
    cv2.imwrite(str(folder / "changed" / "picture.png"), picture())


def saved_masks(_folder: Path) -> Sequence[bytes]:
    rng, files = np.random.default_rng(1), []
    for save in (np.savez, np.savez_compressed):
        file = io.BytesIO()
        save(
            file,
            logits=rng.normal(size=(2, 16, 16)).astype(np.float32),
            confidence=np.array([0.5, 0.6], np.float32),
            stability=np.array([0.5, 0.6], np.float32),
            prompt=np.array([0, 1]),
            prompts=np.array([[[1, 2, 1]], [[3, 4, 0]]], np.float32),
            size_hw=np.array([24, 32]),
            picture="a" * 64,
            bundle="parts",
            decoder="b" * 64,
        )
        files.append(file.getvalue())
    return files


def state() -> dict[str, Any]:
    import torch

    generator = torch.Generator().manual_seed(1)
    return {
        "layer.weight": torch.randn(3, 4, generator=generator),
        "layer.bias": torch.zeros(3),
        "count": torch.tensor(5),
    }


def torch_files(_folder: Path) -> Sequence[bytes]:
    import torch

    files = []
    for content, zipped in ((state(), True), ({"net": state(), "epoch": 3}, True), ({"state_dict": state()}, False)):
        file = io.BytesIO()
        torch.save(content, file, _use_new_zipfile_serialization=zipped)
        files.append(file.getvalue())
    return files


def safetensors(_folder: Path) -> Sequence[bytes]:
    from safetensors.torch import save

    return [save(state(), {"labels": '["nut", "bolt"]'})]


def trt_modules(_folder: Path) -> Sequence[bytes]:
    import torch

    file = io.BytesIO()
    names: Mapping[str, Any] = {"input_names": ["image"], "output_names": ["image_embeddings"]}
    torch.save({"engine": bytearray(b"ftrt" + bytes(60)), **names}, file)
    return [file.getvalue()]


def results(_folder: Path) -> Sequence[bytes]:
    found = {"class_id": 1, "class_name": "nut", "confidence": 0.5, "xyxy": [1.0, 2.0, 3.0, 4.0]}
    found |= {"mask": {"size": [4, 5], "counts": "52207"}, "mask_confidence": 0.9}
    record = {"frame": 0, "name": "a.png", "captured_ns": 5, "latency_ms": {"total": 1.0}, "objects": [found]}
    return [json.dumps(record).encode()]


def accuracies(_folder: Path) -> Sequence[bytes]:
    scores = {"map50_95": 0.5, "map50": 0.7, "miou": 0.8, "images": 10}
    return [json.dumps({"float32": scores, "deployed": scores}).encode()]


def urls(_folder: Path) -> Sequence[bytes]:
    return [
        b"parts://?seed=1&size=64x48&objects=2",
        b"parts://",
        b"rtsp://user:word@camera/1",
        b"csi://0?size=1280x720&fps=30",
    ]


def box_flags(_folder: Path) -> Sequence[bytes]:
    return [b"10,2,20,18", b"1e1,2.5,12,2.0e1"]


def point_flags(_folder: Path) -> Sequence[bytes]:
    return [b"5,6", b"1e1,2.5"]
