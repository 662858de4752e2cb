"""End-to-end detectors, rows of box, score and class id: each form that exporters write, and what is no such form."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from nanoseg.errors import UsageError
from nanoseg.onnx_graphs.adapt.detector import load_detector
from nanoseg.onnx_graphs.adapt.detector_spec import read_detector_spec
from nanoseg.onnx_graphs.deploy.agreement import match_rows
from nanoseg.onnx_graphs.deploy.check_images import built_in_images
from nanoseg.onnx_graphs.deploy.compose import Networks
from nanoseg.onnx_graphs.deploy.detect import detect_graph
from nanoseg.onnx_graphs.deploy.try_networks import try_networks
from nanoseg.onnx_graphs.deploy.validate import validate_detector
from nanoseg.onnx_graphs.model.contract import SourceNetwork
from nanoseg.processing.geometry import Geometry
from nanoseg.processing.nms import NmsKind, RawDetections, complete_boxes, nms
from tests.helpers.end2end_detectors import (
    ROWS,
    ULTRALYTICS,
    Outputs,
    columns,
    joint,
    load,
    one,
    plain,
    save_outputs,
    some_rows,
)
from tests.helpers.onnx_run import run
from tests.helpers.tiny_detectors import quantized_detector
from tests.helpers.tiny_networks import PLAIN_GEOMETRY, decoder, encoder

CONFIDENCE = 0.25
NMS_INSIDE = {"args": "{'batch': 1, 'nms': True}", "names": "{0: 'cat', 1: 'dog'}"}


def outputs(detector: SourceNetwork, size: int = 64, kind: NmsKind = "by-class") -> RawDetections:
    """What the detector's detect.onnx outputs for a grey picture."""
    images = np.full((1, 3, size, size), 0.5, np.float32)
    thresholds = {"confidence": np.float32(CONFIDENCE), "iou": np.float32(0.5)}
    out = run(detect_graph(detector, 300, kind=kind), images=images, geometry=PLAIN_GEOMETRY, **thresholds)
    assert int(out["unconverged"]) == 0
    return out


def detected(detector: SourceNetwork, size: int = 64, kind: NmsKind = "by-class") -> dict[str, np.ndarray]:
    """The rows that count, by falling score."""
    out = outputs(detector, size, kind)
    return {name: out[name][: int(out["count"])] for name in ("boxes", "scores", "class_ids")}


def efficient_nms(boxes: np.ndarray, scores: np.ndarray, ids: np.ndarray) -> Outputs:
    """What EfficientNMS_TRT gives, 5 rows beyond the count."""
    return {
        "num_dets": np.array([[ROWS - 5]], np.int32), "det_boxes": boxes[None], "det_scores": scores[None],
        "det_classes": ids[None].astype(np.int32),
    }  # fmt: skip


def padded(*rows: np.ndarray) -> Outputs:
    """The last five rows are padding of -1."""
    table = joint("bsc", *rows)
    table[-5:] = -1
    return {"output0": table[None]}


FORMS = {
    "yolov10 and yolo26": (one("bsc"), ULTRALYTICS, None, 2, ROWS),
    "with a spec that names it": (one("bsc"), ULTRALYTICS, '[outputs]\njoint = "output0"\n', 2, ROWS),
    "ultralytics nms=True": (one("bsc"), NMS_INSIDE, None, 2, ROWS),
    "transposed": (lambda *rows: {"o": one("bsc")(*rows)["output0"].transpose(0, 2, 1)}, ULTRALYTICS, None, 2, ROWS),
    "one class": (one("bsc"), ULTRALYTICS, None, 1, ROWS),
    "segment": (one("bscm"), ULTRALYTICS | {"task": "segment"}, None, 2, ROWS),
    "padding": (padded, ULTRALYTICS, None, 2, ROWS - 5),
    "by its values": (one("bsc"), {}, None, 5, ROWS),
    "by its values, with a spec": (one("bsc"), {}, '[outputs]\njoint = "output0"\n', 3, ROWS),
    "super-gradients, flat": (one("0bsc"), {}, None, 80, ROWS),
    "yolov7": (one("0bcs"), {}, None, 80, ROWS),
    "paddledetection": (lambda *rows: {"out": joint("csb", *rows)}, {}, None, 80, ROWS),
    "efficient nms": (efficient_nms, {}, None, 2, ROWS - 5),
    "super-gradients, batch": (
        lambda boxes, scores, ids: {
            "num_predictions": np.array([[ROWS]]), "pred_boxes": boxes[None], "pred_scores": scores[None],
            "pred_classes": ids[None].astype(np.int64),
        },
        {}, None, 2, ROWS,
    ),
    "torchvision": (lambda boxes, scores, ids: {"boxes": boxes, "labels": ids, "scores": scores}, {}, None, 2, ROWS),
    "mmdeploy": (
        lambda boxes, scores, ids: {"dets": columns(boxes, scores)[None], "labels": ids[None]}, {}, None, 2, ROWS,
    ),
    "mmdeploy, with a spec": (
        lambda boxes, scores, ids: {"d": columns(boxes, scores)[None], "l": ids[None].astype(np.float32)}, {},
        '[outputs]\njoint = "d"\nclass_ids = "l"\n', 2, ROWS,
    ),
    "tensorflow": (
        lambda boxes, scores, ids: {
            "num_detections": np.array([ROWS], np.float32), "detection_boxes": boxes[None, :, [1, 0, 3, 2]] / 64,
            "detection_scores": scores[None], "detection_classes": ids[None].astype(np.float32) + 1,
        },
        {},
        '[outputs]\nboxes = "detection_boxes"\nscores = "detection_scores"\nclass_ids = "detection_classes"\n'
        'count = "num_detections"\nbox_form = "yxyx"\nnormalised = true\nbackground = "first"\n', 2, ROWS,
    ),
    "rt-detr": (
        lambda boxes, scores, ids: {"labels": ids[None], "boxes": boxes[None], "scores": scores[None]}, {}, None, 2,
        ROWS,
    ),
    "lists of one column": (
        lambda boxes, scores, ids: {
            "scores": scores[None, :, None], "boxes": boxes[None], "class_ids": ids[None, :, None].astype(np.float32),
        },
        {}, None, 2, ROWS,
    ),
    "stated": (one("bsc"), {}, '[outputs]\nform = "end2end"\n', 2, ROWS),
    "stated columns": (
        one("sbc"), {}, '[outputs]\njoint = "output0"\ncolumns = ["score", "box", "class"]\n', 2, ROWS,
    ),
    "stated tensors": (
        lambda boxes, scores, ids: {"a": boxes[None], "b": scores[None], "c": ids[None].astype(np.float32)}, {},
        '[outputs]\nboxes = "a"\nscores = "b"\nclass_ids = "c"\n', 2, ROWS,
    ),
    "normalised centres": (
        lambda boxes, scores, ids: {
            "output0": joint("bsc", columns((boxes[:, :2] + boxes[:, 2:]) / 128, (boxes[:, 2:] - boxes[:, :2]) / 64),
                             scores, ids)[None]
        },
        ULTRALYTICS, '[outputs]\nbox_form = "cxcywh"\nnormalised = true\n', 2, ROWS,
    ),
    "background first": (
        lambda boxes, scores, ids: {"boxes": boxes, "labels": ids + 1, "scores": scores}, {},
        '[outputs]\nbackground = "first"\n', 2, ROWS,
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_end2end_keeps_every_row(form: str, tmp_path: Path) -> None:
    """What the network has not suppressed is not lost, though boxes of one class overlap."""
    make, metadata, text, classes, used = FORMS[form]
    rows = some_rows(classes)
    path = save_outputs(tmp_path / "d.onnx", make(*rows), metadata)
    detector = load(path, text)
    validate_detector(detector)
    assert (detector.is_end2end, detector.needs_nms) == (True, False)
    got, (boxes, scores, ids) = detected(detector), (part[:used] for part in rows)
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] > CONFIDENCE]
    assert len(order) > 10
    np.testing.assert_array_equal(got["class_ids"], ids[order])
    np.testing.assert_allclose(got["scores"], scores[order], atol=1e-6)
    np.testing.assert_allclose(got["boxes"], boxes[order], atol=1e-4)


@pytest.mark.parametrize("text", [None, "[outputs]\nnms = true\n"])
def test_end2end_nms_across_classes(text: str | None, tmp_path: Path) -> None:
    """Whoever wants it gets it, also of a network whose rows are all kept without."""
    boxes, scores, ids = some_rows(5)
    detector = load(save_outputs(tmp_path / "d.onnx", one("bsc")(boxes, scores, ids), ULTRALYTICS), text)
    assert (detector.is_end2end, detector.needs_nms) == (True, text is not None)
    kept = nms(boxes, scores, None, CONFIDENCE, 0.5)
    assert len(kept) < len(nms(boxes, scores, ids, CONFIDENCE, 0.5))
    got = detected(detector, kind="across-classes")
    np.testing.assert_array_equal(got["class_ids"], ids[kept])
    np.testing.assert_allclose(got["boxes"], boxes[kept], atol=1e-4)
    # And on the host, of what a graph by class outputs.
    frame = Geometry.of((64, 64), 64, 64, 64)
    limits = {"confidence": CONFIDENCE, "iou": 0.5, "max_detections": 300}
    finished, _ = complete_boxes(outputs(detector), frame, **limits, wanted="across-classes")
    assert finished.class_id.tolist() == ids[kept].tolist()


def test_end2end_objectness_multiplies(tmp_path: Path) -> None:
    """YOLOX: box, objectness, the class's score, class id."""
    boxes, scores, ids = some_rows(80)
    detector = load(save_outputs(tmp_path / "yolox.onnx", one("bosc")(boxes, scores, ids)), None)
    got = detected(detector)
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] / 2 > CONFIDENCE]
    np.testing.assert_array_equal(got["class_ids"], ids[order])
    np.testing.assert_allclose(got["scores"], scores[order] / 2, atol=1e-6)


@pytest.mark.parametrize(
    ("rows", "text"), [(ROWS, "[outputs]\nnms = true\n"), (84, None), (3 * 84, None), (1200, None)]
)
def test_end2end_before_nms(rows: int, text: str | None, tmp_path: Path) -> None:
    """Where the spec says so, or every cell of a head of 64 pixels has a row, or there are very many."""
    boxes, scores, ids = some_rows(5, rows)
    detector = load(save_outputs(tmp_path / "raw.onnx", one("bsc")(boxes, scores, ids)), text)
    assert (detector.is_end2end, detector.needs_nms) == (True, True)
    got = detected(detector)
    best = np.argsort(-scores, kind="stable")[:300]
    kept = best[nms(boxes[best], scores[best], ids[best], CONFIDENCE, 0.5)]
    assert len(kept) < (scores[best] > CONFIDENCE).sum()
    np.testing.assert_array_equal(got["class_ids"], ids[kept])
    np.testing.assert_allclose(got["boxes"], boxes[kept], atol=1e-4)


@pytest.mark.parametrize(("coding", "axis"), [(0, False), (1, False), (0, True)])
def test_end2end_cut_before_tensorrts_plugin(coding: int, axis: bool, tmp_path: Path) -> None:
    """EfficientNMS_TRT, which no CPU runs, gives way to nanoseg's own NMS; its attributes say what goes in."""
    boxes, _, _ = some_rows(3)
    raw = np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1) if coding else boxes
    logits = np.random.default_rng(1).normal(0, 2, (ROWS, 3)).astype(np.float32)
    path = save_outputs(tmp_path / "trt.onnx", {"b": raw[None, :, None] if axis else raw[None], "s": logits[None]})
    model = onnx.load(path)
    names = ("num_dets", "det_boxes", "det_scores", "det_classes")
    attributes = {"box_coding": coding, "score_activation": 1, "background_class": -1, "max_output_boxes": 9}
    model.graph.node.append(helper.make_node("EfficientNMS_TRT", ["b", "s"], names, domain="TRT", **attributes))
    model.opset_import.append(helper.make_opsetid("TRT", 1))
    del model.graph.output[:]
    model.graph.output.extend(helper.make_tensor_value_info(name, 1, None) for name in names)
    onnx.save(model, path)
    detector = load(path, None)
    assert (detector.is_end2end, detector.dims["C"]) == (False, 3)
    got, scores = detected(detector), 1 / (1 + np.exp(-logits))
    flat = [np.repeat(boxes, 3, 0), scores.ravel(), np.tile(np.arange(3), ROWS)]
    kept = nms(*flat, CONFIDENCE, 0.5)
    np.testing.assert_array_equal(got["class_ids"], flat[2][kept])
    np.testing.assert_allclose(got["boxes"], flat[0][kept], atol=1e-4)


@pytest.mark.parametrize("metadata", [{}, {"names": "{0: 'cat', 1: 'dog'}", "end2end": "False"}])
@pytest.mark.parametrize("form", ["", 'form = "scores"\n'])
def test_end2end_is_not_seen_in_scores_of_two_classes(metadata: dict, form: str, tmp_path: Path) -> None:
    path = save_outputs(tmp_path / "d.onnx", plain(2), metadata)
    detector = load(path, f'[outputs]\njoint = "output0"\n{form}')
    assert (detector.is_end2end, detector.dims["C"]) == (False, 2)


@pytest.mark.parametrize(("labels", "wanted"), [(None, ["cat", "dog"]), ("a,b,c", ["a", "b", "c"]), ("a", None)])
def test_end2end_labels(labels: str | None, wanted: list[str] | None, tmp_path: Path) -> None:
    """The outputs do not say how many classes there are: names do, and class ids must not go beyond them."""
    path = save_outputs(tmp_path / "d.onnx", one("bsc")(*some_rows(2)), ULTRALYTICS)
    networks = Networks.load(path, encoder(tmp_path / "e.onnx"), decoder(tmp_path / "m.onnx"))
    assert any("all kept, whatever --iou is" in note for note in networks.notes())
    across = [note for note in networks.notes("across-classes") if "end-to-end" in note]
    assert [note.partition("its boxes are ")[2] for note in across] == [
        "suppressed where they overlap, whatever their classes (--nms)"
    ]
    if wanted is None:
        with pytest.raises(UsageError, match="--labels: wanted a label for each class id, which go to 1, got 1"):
            networks.labels(labels)
    else:
        assert networks.labels(labels) == wanted


def test_end2end_int8_is_compared_row_by_row(tmp_path: Path) -> None:
    """Rounding changes the order of rows that are sorted by score."""
    path = quantized_detector(tmp_path / "d.onnx", 17)
    model = onnx.load(path)
    model.graph.node.extend([
        helper.make_node("ReduceMax", ["scores"], ["best"], axes=[2], keepdims=0),
        helper.make_node("ArgMax", ["scores"], ["class"], axis=2, keepdims=0),
        helper.make_node("TopK", ["best", "sixteen"], ["confidence", "order"]),
        helper.make_node("GatherElements", ["class", "order"], ["labels"], axis=1),
        helper.make_node("Reshape", ["order", "flat"], ["anchors"]),
        helper.make_node("Gather", ["boxes", "anchors"], ["xyxy"], axis=1),
    ])  # fmt: skip
    model.graph.initializer.extend(
        numpy_helper.from_array(np.array(value), name) for name, value in {"sixteen": [16], "flat": [-1]}.items()
    )
    del model.graph.output[:]
    shapes = {"xyxy": (1, (1, 16, 4)), "confidence": (1, (1, 16)), "labels": (onnx.TensorProto.INT64, (1, 16))}
    model.graph.output.extend(helper.make_tensor_value_info(name, *each) for name, each in shapes.items())
    onnx.save(model, path)
    networks = Networks.load(path, encoder(tmp_path / "e.onnx"), decoder(tmp_path / "m.onnx"))
    assert networks.detector.is_end2end
    notes: list[str] = []
    prepare = tmp_path / "prepare.onnx"
    onnx.save(networks.graphs(64, max_detections=16, all_masks=False)["prepare"], prepare)
    assert try_networks(networks, prepare, built_in_images(), notes.append) == []
    assert any("boxes have a mean IoU of 0.9" in note for note in notes)


def test_end2end_rows_are_matched() -> None:
    boxes, scores, ids = some_rows(3)
    order = np.random.default_rng(4).permutation(ROWS)
    matched = match_rows((boxes, scores, ids), (boxes[order], scores[order], ids[order]))
    for got, want in zip(matched, (boxes, scores, ids), strict=True):
        np.testing.assert_array_equal(got, want)


def test_end2end_two_classes_of_the_known_case(made_case: Callable[[str], Path]) -> None:
    folder = made_case("models/03-end2end-two-classes")
    detector = load_detector(folder / "d.onnx", read_detector_spec(folder / "form.toml"))
    table = onnx.numpy_helper.to_array(onnx.load(folder / "d.onnx").graph.initializer[0])[0]
    got = detected(detector, 640)
    order = np.argsort(-table[:, 4], kind="stable")
    order = order[table[order, 4] > CONFIDENCE]
    np.testing.assert_allclose(got["scores"], table[order, 4])
    np.testing.assert_array_equal(got["class_ids"], table[order, 5])
