"""End-to-end detectors: networks whose outputs are fixed tables, which the picture moves a little."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tests.helpers.tiny_networks import DETECTOR_PX

ROWS = 30


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
