"""Detectors made elsewhere: each adapted by its spec, against its own outputs by numpy."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.adapt.detector import load_detector
from nanoseg.onnx_graphs.adapt.detector_spec import read_detector_spec
from nanoseg.onnx_graphs.deploy.detect import detect_graph
from tests.helpers.adapted_detectors import (
    BAD,
    CLASSES,
    MEAN,
    STD,
    TWO,
    assert_equal_rows,
    detected_rows,
    expected_rows,
    from_centres,
    random_image,
    sigmoid,
    softmax,
    write_spec,
)
from tests.helpers.tiny_detectors import table
from tests.helpers.tiny_networks import BYTE, DETECTOR_PX, HALF

JOINT = {"output0": (0, 4 + CLASSES)}


def test_detector_yolov8(tmp_path: Path) -> None:
    """(1, 4 + C, A), centres, probabilities."""
    net = table(4 + CLASSES)
    path = net.save(tmp_path / "v8.onnx", JOINT, transposed=True, opset=17)
    spec = write_spec(tmp_path / "f.toml", '[outputs]\njoint = "output0"\ntransposed = true\nbox_form = "cxcywh"\n')
    out = net(random_image())
    assert_equal_rows(detected_rows(path, spec), expected_rows(from_centres(out[:, :4]), out[:, 4:]))


def test_detector_yolov5(tmp_path: Path) -> None:
    """(1, A, 5 + C): the fifth column says whether there is anything."""
    net = table(5 + CLASSES)
    path = net.save(tmp_path / "v5.onnx", {"output0": (0, 5 + CLASSES)}, name="pictures")
    spec = write_spec(tmp_path / "f.toml", '[outputs]\njoint = "output0"\nobjectness = true\nbox_form = "cxcywh"\n')
    out = net(random_image())
    assert_equal_rows(detected_rows(path, spec), expected_rows(from_centres(out[:, :4]), out[:, 4:5] * out[:, 5:]))


def test_detector_nhwc_bgr_uint8(tmp_path: Path) -> None:
    net = table(4 + CLASSES, scale=255, corners=True)
    path = net.save(tmp_path / "tf.onnx", {"where": (0, 4), "what": (4, 7)}, nhwc=True, name="x:0")
    text = '[input]\nlayout = "nhwc"\ncolour = "bgr"\nscale = 1\n[outputs]\nboxes = "where"\nscores = "what"\n'
    spec = write_spec(tmp_path / "f.toml", text)
    out = net(random_image()[::-1] * 255)
    assert_equal_rows(detected_rows(path, spec), expected_rows(out[:, :4], out[:, 4:]), 5e-4)


def test_detector_detr(tmp_path: Path) -> None:
    """Normalised centres, logits with "no object" as the last class, ImageNet's mean and deviation."""
    net = table(4 + CLASSES + 1, size=1 / 64, logits=True)
    outputs = {"logits": (4, 8), "pred_boxes": (0, 4)}
    path = net.save(tmp_path / "detr.onnx", outputs, name="pixel_values", batch="batch", side="side")
    text = f"[input]\nsize_px = 64\nmean = {MEAN.tolist()}\nstd = {STD.tolist()}\n"
    text += '[outputs]\nboxes = "pred_boxes"\nscores = "logits"\nbox_form = "cxcywh"\nnormalised = true\n'
    text += 'activation = "softmax"\nbackground = "last"\n'
    spec = write_spec(tmp_path / "f.toml", text)
    out = net((random_image() - MEAN[:, None, None]) / STD[:, None, None])
    assert_equal_rows(
        detected_rows(path, spec),
        expected_rows(from_centres(out[:, :4] * 64), softmax(out[:, 4:])[:, :3]),
    )


def test_detector_xywh_with_float16_logits(tmp_path: Path) -> None:
    net = table(5 + CLASSES, logits=True)
    path = net.save(tmp_path / "half.onnx", {"all": (0, 5 + CLASSES)}, dtype=HALF)
    text = '[outputs]\njoint = "all"\nobjectness = true\nbox_form = "xywh"\nactivation = "sigmoid"\n'
    spec = write_spec(tmp_path / "f.toml", text)
    out = net(random_image())
    boxes = np.concatenate([out[:, :2], out[:, :2] + out[:, 2:4]], 1)
    got, want = (
        detected_rows(path, spec),
        expected_rows(boxes, sigmoid(out[:, 4:5]) * sigmoid(out[:, 5:])),
    )
    # Of scores that differ by less than float16 knows, either may come first.
    np.testing.assert_allclose([row[0] for row in got], [row[0] for row in want], atol=5e-3)
    by_box = {(row[1], round(row[2]), round(row[3])): row for row in want}
    near = [by_box.get((row[1], round(row[2]), round(row[3]))) for row in got]
    assert sum(row is not None for row in near) > len(want) / 2
    for row, other in zip(got, near, strict=True):
        if other is not None:
            np.testing.assert_allclose(row, other, atol=0.06)


def test_detector_background_first(tmp_path: Path) -> None:
    net = table(4 + CLASSES, corners=True)
    path = net.save(tmp_path / "ssd.onnx", {"b": (0, 4), "s": (4, 7)})
    spec = write_spec(tmp_path / "f.toml", '[outputs]\nboxes = "b"\nscores = "s"\nbackground = "first"\n')
    out = net(random_image())
    assert_equal_rows(detected_rows(path, spec), expected_rows(out[:, :4], out[:, 5:]))


def test_detector_with_preprocessing_and_nms(tmp_path: Path) -> None:
    """As super-gradients exports by default: bytes with blue first go in, what NMS leaves comes out."""
    net = table(4 + CLASSES, scale=255, corners=True)
    nms = [
        helper.make_node("Transpose", ["pre_nms_scores"], ["by_class"], perm=[0, 2, 1]),
        helper.make_node("NonMaxSuppression", ["pre_nms_bboxes_xyxy", "by_class"], ["pred_classes"]),
    ]
    outputs = {"pre_nms_bboxes_xyxy": (0, 4), "pre_nms_scores": (4, 7)}
    path = net.save(
        tmp_path / "sg.onnx", outputs, dtype=BYTE, name="input", further=nms, instead={"pred_classes": ("n", 3)}
    )
    model = onnx.load(path)
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    onnx.save(model, path)
    with pytest.raises(BundleError, match=r"got NonMaxSuppression; export it without: .*postprocessing=False"):
        load_detector(path)
    text = '[input]\ncolour = "bgr"\n[outputs]\nboxes = "pre_nms_bboxes_xyxy"\nscores = "pre_nms_scores"\n'
    spec = write_spec(tmp_path / "f.toml", text)
    out = net(np.round(random_image()[::-1] * 255))
    assert_equal_rows(detected_rows(path, spec), expected_rows(out[:, :4], out[:, 4:]), 5e-4)


@pytest.mark.parametrize(
    ("moves", "bytes_left"),
    [
        ([], False),
        ([("Identity", []), ("Transpose", [])], False),  # moved before they become floats
        ([("Mul", ["two"]), ("Div", ["two"])], True),  # 200 * 2 is 144 in bytes, and 72 of it is left
    ],
)
def test_detector_casts_to_uint8_only_where_needed(
    moves: list[tuple[str, list[str]]], bytes_left: bool, tmp_path: Path
) -> None:
    """TensorRT knows uint8 at a graph's input alone."""
    net = table(4 + CLASSES, scale=255, corners=True)
    path = net.save(tmp_path / "bytes.onnx", TWO, dtype=BYTE)
    model = onnx.load(path)
    at = "images"
    for i, (op, more) in enumerate(moves):
        attributes = {"perm": [0, 1, 2, 3]} if op == "Transpose" else {}
        model.graph.node.insert(i, helper.make_node(op, [at, *more], [f"moved{i}"], **attributes))
        at = f"moved{i}"
    model.graph.node[len(moves)].input[0] = at
    if any(more for _, more in moves):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.uint8(2), "two"))
    onnx.save(model, path)
    levels = np.round(random_image() * 255)
    out = net(levels * 2 % 256 // 2 if bytes_left else levels)
    spec = write_spec(tmp_path / "f.toml", "")
    assert_equal_rows(detected_rows(path, spec), expected_rows(out[:, :4], out[:, 4:]), 5e-4)
    graph = onnx.shape_inference.infer_shapes(detect_graph(load_detector(path, read_detector_spec(spec)), 300)).graph
    made = {value.type.tensor_type.elem_type for value in graph.value_info}
    assert (onnx.TensorProto.UINT8 in made) == bytes_left


YOLO_NAS = {"1150": (0, 4), "1129": (4, 7)}
RAW = {"bins": (4, 9), "logits": (4, 7), "1150": (0, 4), "1129": (4, 7)}


@pytest.mark.parametrize(
    ("outputs", "options"),
    [
        (YOLO_NAS, {"name": "input", "opset": 14}),  # super-gradients without its NMS: numbers for names
        ({"pred_bboxes": (0, 4), "pred_scores": (4, 7)}, {"batch": "batch", "opset": 17}),  # modern-yolonas
        ({"boxes": (0, 4), "scores": (4, 7)}, {"batch": "batch", "opset": 20}),
        ({"boxes": (0, 4), "scores": (4, 7), "logits": (4, 7)}, {}),  # our names, more outputs
        (RAW, {"name": "input", "sigmoid": ["1129"]}),  # with what it gives for training
        (RAW, {"name": "input", "sigmoid": ["1129"], "opset": 13, "side": "height"}),
    ],
)
def test_detector_yolo_nas_is_inferred(outputs: dict, options: dict, tmp_path: Path) -> None:
    net = table(9, corners=True, logits="sigmoid" in options)
    path = net.save(tmp_path / "yolo_nas.onnx", outputs, **options)
    out = net(random_image())
    scores = sigmoid(out[:, 4:7]) if "sigmoid" in options else out[:, 4:7]
    assert_equal_rows(detected_rows(path, None, 64), expected_rows(out[:, :4], scores))
    if outputs is RAW:
        left = {name for node in load_detector(path, None, 64).model.graph.node for name in node.output}
        assert not any("bins" in name or "logits" in name for name in left)


def test_detector_uint8_refuses_mean_and_scale(tmp_path: Path) -> None:
    path = table(7, corners=True, scale=255).save(tmp_path / "net.onnx", TWO, dtype=BYTE)
    with pytest.raises(BundleError, match="is uint8: wanted a detector spec without scale, mean and std"):
        load_detector(path, read_detector_spec(write_spec(tmp_path / BAD, "[input]\nmean = [1, 2, 3]\n")))


def test_detector_may_use_reserved_names(tmp_path: Path) -> None:
    """A network whose inner tensors are called as the deployment graph's own."""
    net = table(7, corners=True)
    path = net.save(tmp_path / "net.onnx", {"boxes": (0, 4), "scores": (4, 7)})
    model = onnx.load(path)
    names = {"means": "geometry", "rows": "iou", "cells": "count", "bias": "confidence", "sums": "class_ids"}
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for weight in model.graph.initializer:
        weight.name = names.get(weight.name, weight.name)
    onnx.save(model, path)
    out = net(random_image())
    assert_equal_rows(detected_rows(path, None), expected_rows(out[:, :4], out[:, 4:7]))
    spec = write_spec(tmp_path / "f.toml", '[outputs]\nboxes = "boxes"\nscores = "scores"\n')
    assert_equal_rows(detected_rows(path, spec), expected_rows(out[:, :4], out[:, 4:7]))


def test_detector_keeps_metadata(tmp_path: Path) -> None:
    path = table(7, corners=True).save(tmp_path / "net.onnx", TWO, opset=17)
    model = onnx.load(path)
    helper.set_model_props(model, {"names": "{0: 'nut', 1: 'bolt', 2: 'washer'}"})
    onnx.save(model, path)
    assert load_detector(path).metadata == {"names": "{0: 'nut', 1: 'bolt', 2: 'washer'}"}
    assert load_detector(path).dims["S"] == DETECTOR_PX
