"""The loaders of the package, each with whole inputs to start from and a call on the path of a changed one."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from nanoseg.errors import EngineError
from tests.fuzz import networks, seeds
from tests.fuzz.mutations import changed_bytes, changed_json


@dataclass(frozen=True)
class Loader:
    """A loader under test.

    Attributes:
        file: Name of the changed file; folders before it are made.
        whole: Called with a folder, returns whole files of its kind.
        load: Called with the path of the changed file.
        share: Share of the cases that it gets; slow loaders get fewer.
        as_json: Change the values of the seeds' documents in half of the cases, not only their bytes.
        changed: Called with the whole files, returns the strategy of changed ones where it is not that of bytes.
        beside: Called with a folder once, writes what the file needs beside it.
    """

    file: str
    whole: Callable[[Path], Sequence[bytes]]
    load: Callable[[Path], Any]
    share: float = 1.0
    as_json: bool = False
    changed: Callable[[Sequence[bytes]], st.SearchStrategy[bytes]] = changed_bytes
    beside: Callable[[Path], None] = field(default=lambda folder: None)

    def inputs(self, folder: Path) -> Any:
        """Return the strategy of its changed files."""
        whole = self.whole(folder)
        if not self.as_json:
            return self.changed(whole)
        return changed_bytes(whole) | changed_json([json.loads(seed) for seed in whole])


def _read_image(path: Path) -> None:
    from nanoseg.sources.images import read_image

    read_image(path, 1_000_000)


def _read_source(path: Path) -> None:
    from nanoseg.sources.open import open_source

    for _ in zip(range(40), open_source(path, max_pixels=1_000_000), strict=False):
        pass


def _open_bundle(path: Path) -> None:
    from nanoseg.bundle.bundle import open_bundle

    open_bundle(path.parent)


def _read_reference(path: Path) -> None:
    from nanoseg.bundle.reference import read_reference

    for frame in read_reference(path).frames:
        frame.image()


def _load_network(path: Path) -> None:
    from nanoseg.onnx_graphs.model.contract import DETECTOR, load_network

    load_network(path, DETECTOR)


def _read_signature(path: Path) -> None:
    from nanoseg.bundle.signature import read_signature

    read_signature(path)


def _read_spec(path: Path) -> None:
    from nanoseg.onnx_graphs.adapt.detector_spec import read_detector_spec

    read_detector_spec(path)


def _read_recipe(path: Path) -> None:
    from nanoseg.engines.recipe import read_recipe

    read_recipe("detect", path.parent)


def _read_records(path: Path) -> None:
    from nanoseg.engines.record import read_records

    if reason := read_records(path.parent)[1]:  # printed before nanoseg goes on without engines
        raise EngineError(reason)


def _read_labels(path: Path) -> None:
    from nanoseg.bundle.labels import read_labels

    read_labels(str(path))


def _read_coco(path: Path) -> None:
    from nanoseg.evaluation.coco_scenes import CocoScenes

    scenes = CocoScenes(path, path.parent)
    for index in range(min(len(scenes), 3)):
        scenes[index].masks()


def _read_saved_masks(path: Path) -> None:
    from nanoseg.sinks.saved_masks import SavedMasks

    SavedMasks.read(path)


def _load_checkpoint(path: Path) -> None:
    from nanoseg.models.checkpoints.load import load_checkpoint

    load_checkpoint(path)


def _read_weights(path: Path) -> None:
    from nanoseg.weights.read import read_weights

    read_weights(path)


def _values_of(documents: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Return documents of JSON with changed values, for loaders that want one."""
    return changed_json([json.loads(document) for document in documents])


def _read_trt_module(path: Path) -> None:
    from nanoseg.models.torch2trt.module import read_trt_module

    read_trt_module(path)


def _read_record(path: Path) -> None:
    from nanoseg.processing.rle import decode
    from nanoseg.sinks.records import read_record

    for found in read_record(path.read_bytes()).objects:
        decode({"size": found.mask.size, "counts": found.mask.counts})


def _read_accuracy(path: Path) -> None:
    from nanoseg.bundle.make import BundleOptions, check_options

    options = BundleOptions(Path("d"), Path("e"), Path("m"), name="a", accuracy=path)
    check_options(options, path.parent / "out")


def _check_weights(path: Path) -> None:
    from nanoseg.weights.check import check_weights

    check_weights(path, path.name)


def _open_url(path: Path) -> None:
    from nanoseg.sources.open import open_source

    text = path.read_bytes().decode("utf-8", "surrogateescape").replace("\0", "")
    open_source(text[:500], max_pixels=1_000_000)


def _parse_box(path: Path) -> None:
    _parse_flags(path, "boxes")


def _parse_point(path: Path) -> None:
    _parse_flags(path, "points")


def _parse_flags(path: Path, kind: str) -> None:
    from nanoseg.commands.segment.prompt_flags import PromptFlags

    flags: dict[str, tuple[str, ...]] = {"boxes": (), "points": ()}
    flags[kind] = (path.read_bytes().decode("utf-8", "surrogateescape")[:500],)
    PromptFlags(flags["boxes"], flags["points"], (), None).prompts(seeds.picture())


LOADERS = {
    **{
        suffix: Loader(f"a.{suffix}", seeds.images(f".{suffix}"), _read_image)
        for suffix in ("png", "jpg", "bmp", "webp")
    },
    "tiff": Loader("a.tiff", seeds.images(".tiff"), _read_image, 2),
    "tiff by hand": Loader("a.tif", seeds.tiffs, _read_image, 2),
    "ppm": Loader(
        "a.ppm", lambda _: [b"P6 4 2 255\n" + bytes(24), b"P5\n# gray\n4 2\n255\n" + bytes(8)], _read_image, 0.5
    ),
    "mp4": Loader("a.mp4", seeds.videos("mp4", "libx264"), _read_source, 0.4),
    "mkv": Loader("a.mkv", seeds.videos("matroska", "mpeg4"), _read_source, 0.4),
    "avi": Loader("a.avi", seeds.videos("avi", "mjpeg"), _read_source, 0.4),
    "ts": Loader("a.ts", seeds.videos("mpegts", "mpeg2video"), _read_source, 0.4),
    "video_without_suffix": Loader("a", seeds.videos("mp4", "mpeg4"), _read_source, 0.4),
    "bundle": Loader("bundle.toml", seeds.manifests, _open_bundle, beside=seeds.beside_manifest),
    "reference": Loader("reference.json", seeds.references, _read_reference, 0.5, as_json=True),
    "onnx": Loader("a.onnx", seeds.contract_detectors, _load_network, 0.5),
    "load_detector": Loader("a.onnx", networks.detectors, networks.load_detector, 0.3, changed=networks.changed_models),
    "load_encoder": Loader("a.onnx", networks.encoders, networks.load_encoder, 0.5, changed=networks.changed_models),
    "load_decoder": Loader("a.onnx", networks.decoders, networks.load_decoder, 0.3, changed=networks.changed_models),
    "load_yolo_nas": Loader("a.json", networks.yolo_nas_documents, networks.load_yolo_nas, 0.1, changed=_values_of),
    "fill_skeleton": Loader("a.json", networks.state_documents, networks.fill_skeleton, 0.3, changed=_values_of),
    "signature": Loader("a.onnx", seeds.networks, _read_signature),
    "detector_spec": Loader("spec.toml", lambda _: [seeds.SPECS], _read_spec),
    "recipe": Loader("detect.toml", seeds.recipes, _read_recipe),
    "engine_records": Loader("engines.json", seeds.engine_records, _read_records, as_json=True),
    "labels": Loader("labels.txt", lambda _: seeds.LABELS, _read_labels),
    "coco": Loader("coco.json", seeds.coco_files, _read_coco, 2, as_json=True, beside=seeds.beside_coco),
    "saved_masks": Loader("a.npz", seeds.saved_masks, _read_saved_masks),
    "torch": Loader("a.pth", seeds.torch_files, _load_checkpoint),
    "safetensors": Loader("a.safetensors", seeds.safetensors, _load_checkpoint),
    "shared_containers": Loader("a.pth", networks.shared_containers, _load_checkpoint, 0.5),
    "shared_containers_without_torch": Loader("a.pth", networks.shared_containers, _read_weights),
    "torch_without_torch": Loader("a.pth", seeds.torch_files, _read_weights),
    "safetensors_without_torch": Loader("a.safetensors", seeds.safetensors, _read_weights),
    "trt_module": Loader("a.pth", seeds.trt_modules, _read_trt_module),
    "results": Loader("results.jsonl", seeds.results, _read_record, as_json=True),
    "accuracy": Loader("accuracy.json", seeds.accuracies, _read_accuracy, as_json=True),
    "weights": Loader("a.safetensors", seeds.safetensors, _check_weights, 0.5),
    "weights_onnx": Loader("a.onnx", seeds.networks, _check_weights, 0.5),
    "weights_torch": Loader("a.pth", seeds.torch_files, _check_weights, 0.5),
    "source_url": Loader("url", seeds.urls, _open_url, 0.5),
    "box": Loader("flag", seeds.box_flags, _parse_box, 0.5),
    "point": Loader("flag", seeds.point_flags, _parse_point, 0.5),
}
