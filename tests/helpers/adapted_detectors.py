"""Adapted detectors: the rows of their deployment graph, and the rows expected of them."""

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


def random_image() -> np.ndarray:
    """Return (3, 64, 64) RGB in 0..1, of integer levels; each cell has a colour of its own."""
    rng = np.random.default_rng(3)
    levels = rng.integers(0, 256, (3, 4, 1, 4, 1)) // 2 + rng.integers(0, 128, (3, 4, 16, 4, 16))
    return (levels.reshape(3, 64, 64) / 255).astype(np.float32)


def detected_rows(path: Path, spec: Path | None, size_px: int | None = None) -> list[tuple[float, ...]]:
    """Return rows of score, class and box of every anchor and class, in descending order; nothing is suppressed."""
    loaded = load_detector(path, None if spec is None else read_detector_spec(spec), size_px)
    validate_detector(loaded)
    graph = detect_graph(loaded, 300)
    images = random_image()[None].astype(
        helper.tensor_dtype_to_np_dtype(graph.graph.input[0].type.tensor_type.elem_type)
    )
    out = run(graph, images=images, geometry=PLAIN_GEOMETRY, confidence=np.float32(-1), iou=np.float32(1))
    assert int(out["count"]) == len(out["scores"])
    return [(s, c, *b) for s, c, b in zip(out["scores"], out["class_ids"], out["boxes"], strict=True)]


def expected_rows(boxes: np.ndarray, scores: np.ndarray) -> list[tuple[float, ...]]:
    """Return the rows of boxes (16, 4) xyxy and scores (16, C)."""
    order = np.argsort(-scores, axis=None, kind="stable")
    anchors, classes = np.unravel_index(order, scores.shape)
    return [(scores[a, c], c, *boxes[a]) for a, c in zip(anchors, classes, strict=True)]


def from_centres(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x)
    return np.asarray(e / e.sum(1, keepdims=True))


def write_spec(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def assert_equal_rows(got: list[tuple[float, ...]], want: list[tuple[float, ...]], atol: float = 1e-4) -> None:
    np.testing.assert_allclose(np.array(got), np.array(want), atol=atol, rtol=0)


TWO, THREE = {"a": (0, 4), "b": (4, 7)}, {"a": (0, 4), "b": (4, 7), "c": (4, 7)}
