"""End-to-end detectors: networks whose outputs are fixed tables, which the picture moves a little."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from nanoseg.onnx_graphs.adapt.detector import load_detector
from nanoseg.onnx_graphs.adapt.detector_spec import read_detector_spec
from nanoseg.onnx_graphs.model.contract import SourceNetwork
from tests.helpers.tiny_networks import DETECTOR_PX

ROWS = 30
Outputs = dict[str, np.ndarray]
ULTRALYTICS = {"end2end": "True", "task": "detect", "names": "{0: 'cat', 1: 'dog'}"}


def some_rows(classes: int, rows: int = ROWS, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return boxes (N, 4) xyxy in pixels, scores (N,) and class ids (N,); every second box lies on the one before."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 40, (rows, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(4, 20, (rows, 2))], 1)
    boxes[1::2] = boxes[: rows - 1 : 2] + 0.1
    class_ids = rng.integers(0, classes, rows)
    class_ids[:3] = (classes - 1, 0, classes - 1)
    return boxes.astype(np.float32), rng.uniform(0.05, 0.95, rows).astype(np.float32), class_ids


def save_outputs(
    path: Path,
    outputs: dict[str, np.ndarray],
    metadata: dict[str, str] | None = None,
    nodes: list[onnx.NodeProto] | None = None,
    moves: tuple[str, ...] = (),
) -> Path:
    """Write a network with these outputs for any picture; those in `moves` change with the picture's mean by 1e-3."""
    made = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "little"], ["move"]),
        helper.make_node("Mul", ["mean", "nothing"], ["zero"]),
    ]
    constants: dict[str, np.ndarray] = {"little": np.float32(1e-3), "nothing": np.float32(0)}
    infos = []
    for name, value in outputs.items():
        constants[f"{name}.table"] = value
        shift = "move" if name in moves else "zero"
        dtype = helper.np_dtype_to_tensor_dtype(value.dtype)
        if value.dtype != np.float32:
            made.append(helper.make_node("Cast", [shift], [f"{name}.shift"], to=dtype))
            shift = f"{name}.shift"
        made.append(helper.make_node("Add", [f"{name}.table", shift], [name]))
        infos.append(helper.make_tensor_value_info(name, dtype, value.shape))
    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    image = helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, (1, 3, DETECTOR_PX, DETECTOR_PX))
    graph = helper.make_graph([*made, *(nodes or [])], "end2end", [image], infos, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, metadata or {})
    onnx.save(model, path)
    return path


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


def plain(classes: int) -> Outputs:
    boxes, _, _ = some_rows(2)
    scores = np.random.default_rng(2).uniform(0, 1, (ROWS, classes)).astype(np.float32)
    return {"output0": columns(boxes, scores)[None]}


def load(path: Path, text: str | None) -> SourceNetwork:
    if text is None:
        return load_detector(path)
    spec = path.with_suffix(".toml")
    spec.write_text(text)
    return load_detector(path, read_detector_spec(spec))
