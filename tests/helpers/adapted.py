"""Detectors made elsewhere, read by a form, and what they should give."""

from pathlib import Path

import numpy as np
from onnx import helper

from nanoseg.onnx_graphs.adapt.detector import load_detector
from nanoseg.onnx_graphs.adapt.detector_spec import read_detector_spec
from nanoseg.onnx_graphs.deploy.detect import detect_graph
from nanoseg.onnx_graphs.deploy.validate import validate_detector
from tests.helpers.onnx_run import run
from tests.helpers.tiny_networks import PLAIN_GEOMETRY

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
BAD, CLASSES = "bad.toml", 3


def picture() -> np.ndarray:
    """(3, 64, 64) RGB in 0..1, of whole levels, each cell of a colour of its own."""
    rng = np.random.default_rng(3)
    levels = rng.integers(0, 256, (3, 4, 1, 4, 1)) // 2 + rng.integers(0, 128, (3, 4, 16, 4, 16))
    return (levels.reshape(3, 64, 64) / 255).astype(np.float32)


def found(path: Path, form: Path | None, size_px: int | None = None) -> list[tuple[float, ...]]:
    """Rows of score, class and box, best first, of every anchor and class: nothing is suppressed."""
    core = load_detector(path, None if form is None else read_detector_spec(form), size_px)
    validate_detector(core)
    graph = detect_graph(core, 300)
    images = picture()[None].astype(helper.tensor_dtype_to_np_dtype(graph.graph.input[0].type.tensor_type.elem_type))
    out = run(graph, images=images, geometry=PLAIN_GEOMETRY, confidence=np.float32(-1), iou=np.float32(1))
    assert int(out["count"]) == len(out["scores"])
    return [(s, c, *b) for s, c, b in zip(out["scores"], out["class_ids"], out["boxes"], strict=True)]


def wanted(boxes: np.ndarray, scores: np.ndarray) -> list[tuple[float, ...]]:
    """The same of boxes (16, 4) xyxy and scores (16, C)."""
    order = np.argsort(-scores, axis=None, kind="stable")
    anchors, classes = np.unravel_index(order, scores.shape)
    return [(scores[a, c], c, *boxes[a]) for a, c in zip(anchors, classes, strict=True)]


def centred(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x)
    return np.asarray(e / e.sum(1, keepdims=True))


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def equal(got: list[tuple[float, ...]], want: list[tuple[float, ...]], atol: float = 1e-4) -> None:
    np.testing.assert_allclose(np.array(got), np.array(want), atol=atol, rtol=0)


TWO, THREE = {"a": (0, 4), "b": (4, 7)}, {"a": (0, 4), "b": (4, 7), "c": (4, 7)}
