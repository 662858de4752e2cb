"""The loaders of the package, each with whole inputs to start from and a call on the path of a changed one."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz.mutations import changed_bytes, changed_json


@dataclass(frozen=True)
class Loader:
    """A loader under test.

    Attributes:
        file: Name of the changed file; folders before it are made.
        seeds: Called with a folder, returns whole files of its kind.
        load: Called with the path of the changed file.
        share: Share of the cases that it gets; slow loaders get fewer.
        as_json: Change the values of the seeds' documents in half of the cases, not only their bytes.
        beside: Called with a folder once, writes what the file needs beside it.
    """

    file: str
    seeds: Callable[[Path], Sequence[bytes]]
    load: Callable[[Path], Any]
    share: float = 1.0
    as_json: bool = False
    beside: Callable[[Path], None] = field(default=lambda folder: None)

    def inputs(self, folder: Path) -> Any:
        """Return the strategy of its changed files."""
        seeds = self.seeds(folder)
        if not self.as_json:
            return changed_bytes(seeds)
        return changed_bytes(seeds) | changed_json([json.loads(seed) for seed in seeds])


def _picture() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 255, (24, 32, 3), np.uint8)


def _encoded(suffix: str) -> Callable[[Path], Sequence[bytes]]:
    def seeds(_folder: Path) -> Sequence[bytes]:
        import cv2

        return [cv2.imencode(suffix, image)[1].tobytes() for image in (_picture(), _picture()[:, :, 0])]

    return seeds


def _read_image(path: Path) -> None:
    from nanoseg.sources.images import read_image

    read_image(path, 1_000_000)


def _video(container: str, codec: str) -> Callable[[Path], Sequence[bytes]]:
    def seeds(_folder: Path) -> Sequence[bytes]:
        import av

        file = io.BytesIO()
        with av.open(file, "w", format=container) as out:
            stream: Any = out.add_stream(codec, rate=10)
            stream.width, stream.height = 64, 48
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            for i in range(6):
                picture = np.roll(np.resize(_picture(), (48, 64, 3)), i, 1)
                out.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "bgr24")))
            out.mux(stream.encode())
        return [file.getvalue()]

    return seeds


def _read_source(path: Path) -> None:
    from nanoseg.sources.open import open_source

    for _ in zip(range(40), open_source(path, max_pixels=1_000_000), strict=False):
        pass


def _bundle_files(folder: Path) -> Path:
    from nanoseg.bundle.make import BundleOptions, make_bundle
    from tests.helpers.tiny_networks import decoder, encoder, some_detector

    if not (bundle := folder / "bundle").exists():
        networks = some_detector(folder / "d.onnx"), encoder(folder / "e.onnx"), decoder(folder / "m.onnx")
        make_bundle(BundleOptions(*networks, name="tiny", labels="nut,bolt,gear"), bundle)
    return bundle


def _manifest(folder: Path) -> Sequence[bytes]:
    return [(_bundle_files(folder) / "bundle.toml").read_bytes()]


def _beside_manifest(folder: Path) -> None:
    for graph in _bundle_files(folder).glob("*.onnx"):
        (folder / "changed").mkdir(exist_ok=True)
        (folder / "changed" / graph.name).write_bytes(graph.read_bytes())


def _open_bundle(path: Path) -> None:
    from nanoseg.bundle.bundle import open_bundle

    open_bundle(path.parent)


def _networks(folder: Path) -> Sequence[bytes]:
    bundle = _bundle_files(folder)
    return [path.read_bytes() for path in (folder / "d.onnx", folder / "m.onnx", bundle / "detect.onnx")]


def _load_network(path: Path) -> None:
    from nanoseg.onnx_graphs.model.contract import DETECTOR, load_network

    load_network(path, DETECTOR)


def _read_signature(path: Path) -> None:
    from nanoseg.bundle.signature import read_signature

    read_signature(path)


def _read_spec(path: Path) -> None:
    from nanoseg.onnx_graphs.adapt.detector_spec import read_detector_spec

    read_detector_spec(path)


_SPEC = b"""[input]
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


def _recipes(_folder: Path) -> Sequence[bytes]:
    from nanoseg.engines.recipe import FOLDER

    return [path.read_bytes() for path in sorted(FOLDER.glob("*.toml"))]


def _read_recipe(path: Path) -> None:
    from nanoseg.engines.recipe import read_recipe

    read_recipe("detect", path.parent)


def _records(_folder: Path) -> Sequence[bytes]:
    profile = {"images": {"min": [1, 3, 64, 64], "opt": [1, 3, 64, 64], "max": [1, 3, 64, 64]}}
    document = {"format": 2, "engines": {"detect": {"graph": "detect", "file": "detect.engine", "profiles": [profile]}}}
    return [json.dumps(document).encode()]


def _read_records(path: Path) -> None:
    from nanoseg.engines.record import read_records

    read_records(path.parent)


def _read_labels(path: Path) -> None:
    from nanoseg.bundle.labels import read_labels

    read_labels(str(path))


_LABELS = (
    b"nut\nbolt\ngear\n",
    b"names:\n  0: nut\n  1: bolt\n  2: gear\n",
    b"path: x\nnc: 3\nnames: [nut, 'bolt', \"gear\"]\n",
    b'["nut", "bolt", "gear"]',
    b'{"0": "nut", "1": "bolt"}',
)


def _coco(_folder: Path) -> Sequence[bytes]:
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


def _beside_coco(folder: Path) -> None:
    import cv2

    (folder / "changed").mkdir(exist_ok=True)
    cv2.imwrite(str(folder / "changed" / "picture.png"), _picture())


def _read_coco(path: Path) -> None:
    from nanoseg.evaluation.coco_scenes import CocoScenes

    scenes = CocoScenes(path, path.parent)
    for index in range(min(len(scenes), 3)):
        scenes[index].masks()


def _saved_masks(_folder: Path) -> Sequence[bytes]:
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


def _read_saved_masks(path: Path) -> None:
    from nanoseg.sinks.saved_masks import SavedMasks

    SavedMasks.read(path)


def _state() -> dict[str, Any]:
    import torch

    generator = torch.Generator().manual_seed(1)
    return {
        "layer.weight": torch.randn(3, 4, generator=generator),
        "layer.bias": torch.zeros(3),
        "count": torch.tensor(5),
    }


def _torch_files(_folder: Path) -> Sequence[bytes]:
    import torch

    files = []
    for content, zipped in ((_state(), True), ({"net": _state(), "epoch": 3}, True), ({"state_dict": _state()}, False)):
        file = io.BytesIO()
        torch.save(content, file, _use_new_zipfile_serialization=zipped)
        files.append(file.getvalue())
    return files


def _safetensors(_folder: Path) -> Sequence[bytes]:
    from safetensors.torch import save

    return [save(_state(), {"labels": '["nut", "bolt"]'})]


def _load_checkpoint(path: Path) -> None:
    from nanoseg.models.checkpoints.load import load_checkpoint

    load_checkpoint(path)


def _trt_modules(_folder: Path) -> Sequence[bytes]:
    import torch

    file = io.BytesIO()
    names: Mapping[str, Any] = {"input_names": ["image"], "output_names": ["image_embeddings"]}
    torch.save({"engine": bytearray(b"ftrt" + bytes(60)), **names}, file)
    return [file.getvalue()]


def _read_trt_module(path: Path) -> None:
    from nanoseg.models.torch2trt.module import read_trt_module

    read_trt_module(path)


def _results(_folder: Path) -> Sequence[bytes]:
    found = {"class_id": 1, "class_name": "nut", "confidence": 0.5, "xyxy": [1.0, 2.0, 3.0, 4.0]}
    found |= {"mask": {"size": [4, 5], "counts": "02I"}, "mask_confidence": 0.9}
    record = {"frame": 0, "name": "a.png", "captured_ns": 5, "latency_ms": {"total": 1.0}, "objects": [found]}
    return [json.dumps(record).encode()]


def _read_record(path: Path) -> None:
    from nanoseg.processing.rle import decode
    from nanoseg.sinks.records import read_record

    for found in read_record(path.read_bytes()).objects:
        decode({"size": found.mask.size, "counts": found.mask.counts})


def _accuracies(_folder: Path) -> Sequence[bytes]:
    scores = {"map50_95": 0.5, "map50": 0.7, "miou": 0.8, "images": 10}
    return [json.dumps({"float32": scores, "deployed": scores}).encode()]


def _read_accuracy(path: Path) -> None:
    from nanoseg.bundle.make import BundleOptions, check_options

    options = BundleOptions(Path("d"), Path("e"), Path("m"), name="a", accuracy=path)
    check_options(options, path.parent / "out")


def _check_weights(path: Path) -> None:
    from nanoseg.weights.check import check_weights

    for suffix in ("onnx", "safetensors", "pth"):
        check_weights(path, f"a.{suffix}")


def _weights(folder: Path) -> Sequence[bytes]:
    return [*_torch_files(folder), *_safetensors(folder), *_networks(folder)]


def _urls(_folder: Path) -> Sequence[bytes]:
    return [
        b"parts://?seed=1&size=64x48&objects=2",
        b"parts://",
        b"rtsp://user:word@camera/1",
        b"file:///tmp/a%20b.png",
        b"csi://0?size=1280x720&fps=30",
    ]


def _open_url(path: Path) -> None:
    from nanoseg.sources.open import open_source

    text = path.read_bytes().decode("utf-8", "surrogateescape").replace("\0", "")
    open_source(text[:500], max_pixels=1_000_000)


def _prompt_flags(_folder: Path) -> Sequence[bytes]:
    return [b"10,20,200,180", b"5,6", b"1e3,2.5,nan,inf"]


def _parse_prompts(path: Path) -> None:
    from nanoseg.commands.segment.prompt_flags import PromptFlags

    text = path.read_bytes().decode("utf-8", "surrogateescape")[:500]
    for boxes, points in (((text,), ()), ((), (text,))):
        PromptFlags(boxes, points, (), None).prompts(_picture())


LOADERS = {
    **{suffix: Loader(f"a.{suffix}", _encoded(f".{suffix}"), _read_image) for suffix in ("png", "jpg", "bmp", "webp")},
    "tiff": Loader("a.tiff", _encoded(".tiff"), _read_image, 2),
    "ppm": Loader(
        "a.ppm", lambda _: [b"P6 4 2 255\n" + bytes(24), b"P5\n# gray\n4 2\n255\n" + bytes(8)], _read_image, 0.5
    ),
    "mp4": Loader("a.mp4", _video("mp4", "libx264"), _read_source, 0.4),
    "mkv": Loader("a.mkv", _video("matroska", "mpeg4"), _read_source, 0.4),
    "avi": Loader("a.avi", _video("avi", "mjpeg"), _read_source, 0.4),
    "ts": Loader("a.ts", _video("mpegts", "mpeg2video"), _read_source, 0.4),
    "video_without_suffix": Loader("a", _video("mp4", "mpeg4"), _read_source, 0.4),
    "bundle": Loader("bundle.toml", _manifest, _open_bundle, beside=_beside_manifest),
    "onnx": Loader("a.onnx", _networks, _load_network, 0.5),
    "signature": Loader("a.onnx", _networks, _read_signature),
    "detector_spec": Loader("spec.toml", lambda _: [_SPEC], _read_spec),
    "recipe": Loader("detect.toml", _recipes, _read_recipe),
    "engine_records": Loader("engines.json", _records, _read_records, as_json=True),
    "labels": Loader("labels.txt", lambda _: _LABELS, _read_labels),
    "coco": Loader("coco.json", _coco, _read_coco, 2, as_json=True, beside=_beside_coco),
    "saved_masks": Loader("a.npz", _saved_masks, _read_saved_masks),
    "torch": Loader("a.pth", _torch_files, _load_checkpoint),
    "safetensors": Loader("a.safetensors", _safetensors, _load_checkpoint),
    "trt_module": Loader("a.pth", _trt_modules, _read_trt_module),
    "results": Loader("results.jsonl", _results, _read_record, as_json=True),
    "accuracy": Loader("accuracy.json", _accuracies, _read_accuracy, as_json=True),
    "weights": Loader("a.bin", _weights, _check_weights),
    "source_url": Loader("url", _urls, _open_url, 0.5),
    "prompts": Loader("flag", _prompt_flags, _parse_prompts),
}
