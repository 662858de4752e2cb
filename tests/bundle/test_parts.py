"""The embedded bundle: its precisions, its size, what they cost, and that a CPU finds what the file says."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import nanoseg
from nanoseg.backends.onnxruntime.pipeline import OrtPipeline
from nanoseg.backends.select import open_engines
from nanoseg.bundle import Bundle, open_bundle
from nanoseg.evaluation.coco import coco_map
from nanoseg.onnx_graphs.model.load import read_model
from nanoseg.segmenter import Boxes, Segmenter
from nanoseg.sources.simulator.demo_lines import DemoLines

# Every tenth of the demo's 300 frames.
FRAMES = range(0, 300, 10)


@pytest.fixture(scope="module")
def parts() -> Bundle:
    return open_bundle("parts")


def test_parts_precisions_and_size(parts: Bundle) -> None:
    precisions = {name: graph.precision for name, graph in parts.graphs.items()}
    decoders = {"segment": "fp32", "segment_boxes": "fp32"}
    assert precisions == {"prepare": "fp32", "detect": "int8", "embed": "fp16", **decoders}
    assert sum(graph.all_bytes for graph in parts.graphs.values()) <= 30e6


def test_parts_accuracy_keeps_the_budget(parts: Bundle) -> None:
    whole, reduced = parts.accuracy["float32"], parts.accuracy["deployed"]
    assert (whole.dataset, whole.images) == (reduced.dataset, reduced.images)
    assert whole.images == 300
    assert whole.map50_95 - reduced.map50_95 <= 0.005
    assert whole.miou - reduced.miou <= 0.002


@pytest.mark.slow
def test_parts_cpu_accuracy_is_what_the_manifest_says(parts: Bundle) -> None:
    shots = DemoLines()
    frames = [shots.frame(index) for index in FRAMES]
    truths = [shots.truth(index) for index in FRAMES]
    found: dict[bool, list[Boxes]] = {}
    for rounded in (False, True):
        pipeline = OrtPipeline(parts, open_engines(parts, "onnxruntime", rounded=rounded))
        with Segmenter(parts, pipeline) as segmenter:
            found[rounded] = [segmenter.detect(frame) for frame in frames]
    stripped, stored = (coco_map(truths, found[rounded]).map50_95 for rounded in (False, True))
    assert stored is not None
    assert stored > 0.7
    assert stripped == pytest.approx(stored, abs=0.003)
    # And the two are not one.
    pairs = [(one, other) for one, other in zip(*found.values(), strict=True) if len(one.xyxy) == len(other.xyxy) > 0]
    assert any(np.abs(one.confidence - other.confidence).max() > 0 for one, other in pairs)


@pytest.mark.parametrize("link", ["symbolic", "hard"])
def test_parts_opens_where_its_files_are_links(parts: Bundle, tmp_path: Path, link: str) -> None:
    """As in a cache of files by their hash; the weights of segment_boxes lie in segment.onnx."""
    store, folder = tmp_path / "blobs", tmp_path / "parts"
    store.mkdir()
    folder.mkdir()
    for path in parts.path.iterdir():
        shutil.copyfile(path, store / path.name)
        if link == "hard":
            os.link(store / path.name, folder / path.name)
        else:
            (folder / path.name).symlink_to(f"../blobs/{path.name}")
    frame = DemoLines().frame(0)
    with nanoseg.load(folder, backend="onnxruntime") as linked, nanoseg.load("parts", backend="onnxruntime") as own:
        found, wanted = linked(frame), own(frame)
    np.testing.assert_array_equal(found.masks.logits, wanted.masks.logits)
    assert len(found) > 3
    if link == "hard":
        assert len(read_model(folder / "segment_boxes.onnx").graph.initializer) > 50
