"""End-to-end detectors, rows of box, score and class id: each form that exporters write, and what is no such form."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from nanoseg.errors import BundleError, UsageError
from nanoseg.onnx_graphs.adapt.detector import load_detector
from nanoseg.onnx_graphs.adapt.detector_spec import read_detector_spec
from nanoseg.onnx_graphs.deploy.compose import Networks
from nanoseg.onnx_graphs.deploy.detect import detect_graph
from nanoseg.onnx_graphs.deploy.validate import validate_detector
from nanoseg.onnx_graphs.model.contract import SourceNetwork
from nanoseg.processing.nms import nms
from tests.helpers.end2end_detectors import ROWS, save_outputs, some_rows
from tests.helpers.onnx_run import run
from tests.helpers.tiny_networks import PLAIN_GEOMETRY, decoder, encoder

Outputs = dict[str, np.ndarray]
CONFIDENCE = 0.25
ULTRALYTICS = {"end2end": "True", "task": "detect", "names": "{0: 'cat', 1: 'dog'}"}
NMS_INSIDE = {"args": "{'batch': 1, 'nms': True}", "names": "{0: 'cat', 1: 'dog'}"}


def load(path: Path, text: str | None) -> SourceNetwork:
    if text is None:
        return load_detector(path)
    spec = path.with_suffix(".toml")
    spec.write_text(text)
    return load_detector(path, read_detector_spec(spec))


def detected(detector: SourceNetwork, size: int = 64) -> dict[str, np.ndarray]:
    """The rows that count, by falling score."""
    images = np.full((1, 3, size, size), 0.5, np.float32)
    thresholds = {"confidence": np.float32(CONFIDENCE), "iou": np.float32(0.5)}
    out = run(detect_graph(detector, 300), images=images, geometry=PLAIN_GEOMETRY, **thresholds)
    assert int(out["unconverged"]) == 0
    return {name: out[name][: int(out["count"])] for name in ("boxes", "scores", "class_ids")}


def columns(*parts: np.ndarray) -> np.ndarray:
    """(N, columns) float32."""
    return np.concatenate([np.asarray(part, np.float32).reshape(len(parts[0]), -1) for part in parts], 1)


def joint(order: str, boxes: np.ndarray, scores: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Columns by letter: box, score, class id, 0 (the batch), objectness, and mask coefficients."""
    zeros, coefficients = np.zeros(len(boxes)), np.random.default_rng(9).normal(size=(len(boxes), 32))
    parts = {"b": boxes, "s": scores, "c": ids, "0": zeros, "o": np.full(len(boxes), 0.5), "m": coefficients}
    return columns(*(parts[letter] for letter in order))


def one(order: str, name: str = "output0") -> Callable[..., Outputs]:
    return lambda *rows: {name: joint(order, *rows)[None]}


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


def plain(classes: int) -> Outputs:
    boxes, _, _ = some_rows(2)
    scores = np.random.default_rng(2).uniform(0, 1, (ROWS, classes)).astype(np.float32)
    return {"output0": columns(boxes, scores)[None]}


@pytest.mark.parametrize("metadata", [{}, {"names": "{0: 'cat', 1: 'dog'}", "end2end": "False"}])
@pytest.mark.parametrize("form", ["", 'form = "scores"\n'])
def test_end2end_is_not_seen_in_scores_of_two_classes(metadata: dict, form: str, tmp_path: Path) -> None:
    path = save_outputs(tmp_path / "d.onnx", plain(2), metadata)
    detector = load(path, f'[outputs]\njoint = "output0"\n{form}')
    assert (detector.is_end2end, detector.dims["C"]) == (False, 2)


BOTH = r'form = "end2end" .* or form = "scores"'
REFUSED = {
    "two classes": (one("bsc")(*some_rows(2)), {}, '[outputs]\njoint = "output0"\n', BOTH),
    "two classes without a spec": (one("bsc")(*some_rows(2)), {}, None, BOTH),
    "one class": (one("bsc")(*some_rows(1)), {}, '[outputs]\njoint = "output0"\n', BOTH),
    "batch and two classes": (one("0bsc")(*some_rows(2)), {}, '[outputs]\njoint = "output0"\n', BOTH),
    "an order of its own": (one("sbc")(*some_rows(9)), {}, '[outputs]\njoint = "output0"\n', "columns = "),
    "class ids among others": (one("bscm")(*some_rows(9)), {}, '[outputs]\njoint = "output0"\n', "column 5 holds"),
    "scores that call themselves end-to-end": (plain(2), ULTRALYTICS, None, "got fractions; "),
    "a spec of scores": (
        one("bsc")(*some_rows(2)), ULTRALYTICS, '[outputs]\njoint = "output0"\nobjectness = true\n', BOTH,
    ),
    "rotated boxes": (one("bsc")(*some_rows(2)), ULTRALYTICS | {"task": "obb"}, None, "task obb"),
    "lists that nothing tells apart": (
        {"a": some_rows(2)[0][None], "b": some_rows(2)[1][None], "c": some_rows(2)[1][None]}, {}, None,
        "name boxes, scores and class_ids",
    ),
    "class ids of another number": (
        {"boxes": some_rows(2)[0][None], "scores": some_rows(2)[1][None], "n": np.zeros((1, 9), np.int64)}, {},
        '[outputs]\nboxes = "boxes"\nscores = "scores"\nclass_ids = "n"\n', r"'n' wants \(1, 30\), got \(1, 9\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", REFUSED)
def test_end2end_refused(form: str, tmp_path: Path) -> None:
    outputs, metadata, text, message = REFUSED[form]
    path = save_outputs(tmp_path / "d.onnx", outputs, metadata)
    with pytest.raises(BundleError, match=message) as error:
        load(path, text)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('joint = "a"\ncolumns = ["box", "score"]', "outputs.columns: wanted box, score and class once each, got box"),
        ('boxes = "a"\nscores = "b"\nform = "end2end"', "outputs: wanted class_ids beside boxes and scores"),
        ('joint = "a"\nclass_ids = "b"', "outputs.class_ids: wanted with boxes and scores"),
        ('form = "scores"\nnms = true', 'outputs.nms: wanted with form = "end2end", got form = "scores"'),
        ('form = "end2end"\nactivation = "softmax"', 'outputs.activation: wanted with form = "scores"'),
        ('form = "end2end"\nbackground = "last"', 'outputs.background: wanted "first" or "none" for class ids'),
        ('columns = ["box", "score", "class"]', "outputs.columns: wanted with joint"),
    ],
)
def test_end2end_spec_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "spec.toml"
    path.write_text(f"[outputs]\n{text}\n")
    with pytest.raises(UsageError) as error:
        read_detector_spec(path)
    assert str(error.value).startswith(f"{path}: {message}")


@pytest.mark.parametrize(("labels", "wanted"), [(None, ["cat", "dog"]), ("a,b,c", ["a", "b", "c"]), ("a", None)])
def test_end2end_labels(labels: str | None, wanted: list[str] | None, tmp_path: Path) -> None:
    """The outputs do not say how many classes there are: names do, and class ids must not go beyond them."""
    path = save_outputs(tmp_path / "d.onnx", one("bsc")(*some_rows(2)), ULTRALYTICS)
    networks = Networks.load(path, encoder(tmp_path / "e.onnx"), decoder(tmp_path / "m.onnx"))
    assert any("end-to-end" in note for note in networks.notes())
    if wanted is None:
        with pytest.raises(UsageError, match="--labels: wanted a label for each class id, which go to 1, got 1"):
            networks.labels(labels)
    else:
        assert networks.labels(labels) == wanted


def test_end2end_two_classes_of_the_known_case(made_case: Callable[[str], Path]) -> None:
    folder = made_case("models/03-end2end-two-classes")
    detector = load_detector(folder / "d.onnx", read_detector_spec(folder / "form.toml"))
    table = onnx.numpy_helper.to_array(onnx.load(folder / "d.onnx").graph.initializer[0])[0]
    got = detected(detector, 640)
    order = np.argsort(-table[:, 4], kind="stable")
    order = order[table[order, 4] > CONFIDENCE]
    np.testing.assert_allclose(got["scores"], table[order, 4])
    np.testing.assert_array_equal(got["class_ids"], table[order, 5])
