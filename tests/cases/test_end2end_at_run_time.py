"""What end-to-end detectors do only at run time, or say only in their attributes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import nanoseg
from nanoseg.bundle.make import BundleOptions, make_bundle
from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.deploy.compose import Networks
from tests.helpers.end2end_detectors import ULTRALYTICS, one, save_outputs, some_rows
from tests.helpers.tiny_networks import decoder, encoder


def detector_of_white(path: Path, classes: int, beyond: int) -> Path:
    """Write a detector whose class ids are higher by `beyond` on a white picture, which no trial image is."""
    save_outputs(path, one("bsc")(*some_rows(classes)), ULTRALYTICS)
    model = onnx.load(path)
    (name,) = [value.name for value in model.graph.output]
    for node in model.graph.node:
        node.output[:] = ["table" if output == name else output for output in node.output]
    model.graph.node.extend([
        helper.make_node("Greater", ["mean", "bright"], ["is_white"]),
        helper.make_node("Cast", ["is_white"], ["white"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", ["white", "higher"], ["more"]),
        helper.make_node("Add", ["table", "more"], [name]),
    ])  # fmt: skip
    model.graph.initializer.extend([
        numpy_helper.from_array(np.array(0.97, np.float32), "bright"),
        numpy_helper.from_array(np.array([0, 0, 0, 0, 0, beyond], np.float32), "higher"),
    ])  # fmt: skip
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(("classes", "beyond", "found"), [(2, 1, 2), (2, 900, 90), (3, 1, 3)])
def test_class_ids_beyond_the_labels_are_one_line(classes: int, beyond: int, found: int, tmp_path: Path) -> None:
    detector = detector_of_white(tmp_path / "d.onnx", classes, beyond)
    networks = detector, encoder(tmp_path / "e.onnx"), decoder(tmp_path / "m.onnx")
    labels = ",".join(f"class {number}" for number in range(classes))
    make_bundle(
        BundleOptions(*networks, "tiny", labels=labels, confidence=0.01, rescale_px=64, anyway=True), tmp_path / "tiny"
    )
    message = f"tiny: the detector found class {found}.*, but has {classes} labels"
    with nanoseg.load(tmp_path / "tiny", "onnxruntime") as segmenter:
        assert set(segmenter(np.full((64, 64, 3), 90, np.uint8)).class_id) == set(range(classes))
        with pytest.raises(BundleError, match=message) as caught:
            segmenter(np.full((64, 64, 3), 255, np.uint8))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "is_told"), [({}, False), ({"class_agnostic": 0}, False), ({"class_agnostic": 1}, True)]
)
def test_suppression_across_classes_is_told(options: dict[str, int], is_told: bool, tmp_path: Path) -> None:
    boxes, _, _ = some_rows(3)
    scores = np.random.default_rng(1).uniform(0, 1, (len(boxes), 3)).astype(np.float32)
    path = save_outputs(tmp_path / "trt.onnx", {"b": boxes[None], "s": scores[None]})
    model, names = onnx.load(path), ("num_dets", "det_boxes", "det_scores", "det_classes")
    model.graph.node.append(helper.make_node("EfficientNMS_TRT", ["b", "s"], names, domain="TRT", **options))
    model.opset_import.append(helper.make_opsetid("TRT", 1))
    del model.graph.output[:]
    model.graph.output.extend(helper.make_tensor_value_info(name, 1, None) for name in names)
    onnx.save(model, path)
    networks = Networks.load(path, encoder(tmp_path / "e.onnx"), decoder(tmp_path / "m.onnx"))
    told = [note for note in networks.notes() if "suppresses across classes (class_agnostic=1)" in note]
    assert bool(told) is is_told
    assert all(note.endswith("unless --nms across-classes is given") for note in told)
    assert not any("class_agnostic" in note for note in networks.notes("across-classes"))
