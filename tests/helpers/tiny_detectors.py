"""Detectors of a few operators, with inputs and outputs as other exporters write them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from tests.helpers.tiny_networks import BYTE, DETECTOR_PX, FLOAT, HALF, save

CELLS = np.stack(np.meshgrid(np.arange(4), np.arange(4)), -1).reshape(16, 2) * 16.0  # their left upper corners


class Table:
    """A detector that tells what it saw: of each of 16 cells of 16 x 16 pixels the mean colour, as `columns` numbers.

    A number is a sum of red, green and blue, weighted, plus one that is the cell's own.
    """

    def __init__(self, weight: np.ndarray, bias: np.ndarray) -> None:
        """`weight` (3, columns) by channel as the network sees them, `bias` (16, columns)."""
        self.weight, self.bias = weight.astype(np.float32), bias.astype(np.float32)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """(3, 64, 64) as the network sees them -> (16, columns), by numpy."""
        cells = pixels.reshape(3, 4, 16, 4, 16).mean((2, 4)).reshape(3, 16)
        return np.asarray(cells.T @ self.weight + self.bias)

    def save(
        self,
        path: Path,
        outputs: dict[str, tuple[int, int]],
        *,
        nhwc: bool = False,
        transposed: bool = False,
        dtype: int = FLOAT,
        opset: int = 19,
        name: str = "images",
        batch: int | str = 1,
        side: int | str = DETECTOR_PX,
        sigmoid: Sequence[str] = (),
        further: Sequence[onnx.NodeProto] = (),
        instead: dict[str, Sequence[int | str]] | None = None,
    ) -> Path:
        """Write it; each of `outputs` has columns first to last. `further` nodes make the outputs `instead`."""
        kind = np.float16 if dtype == HALF else np.float32
        nodes = []
        x = name
        if dtype == BYTE:
            nodes.append(helper.make_node("Cast", [x], ["float"], to=FLOAT))
            x = "float"
        if nhwc:
            nodes.append(helper.make_node("Transpose", [x], ["planes"], perm=[0, 3, 1, 2]))
            x = "planes"
        nodes += [
            helper.make_node("AveragePool", [x], ["means"], kernel_shape=[16, 16], strides=[16, 16]),
            helper.make_node("Reshape", ["means", "rows_shape"], ["rows"]),
            helper.make_node("Transpose", ["rows"], ["cells"], perm=[0, 2, 1]),
            helper.make_node("MatMul", ["cells", "weight"], ["sums"]),
            helper.make_node("Add", ["sums", "bias"], ["table"]),
        ]
        constants: dict[str, np.ndarray] = {
            "rows_shape": np.array([-1, 3, 16]), "weight": self.weight.astype(kind), "bias": self.bias.astype(kind),
            "axis": np.array([2]),
        }  # fmt: skip
        shapes: dict[str, Sequence[int | str]] = {}
        for output, (first, last) in outputs.items():
            constants |= {f"{output}.first": np.array([first]), f"{output}.last": np.array([last])}
            steps = ["Slice", *(["Sigmoid"] if output in sigmoid else []), *(["Transpose"] if transposed else [])]
            y = "table"
            for i, step in enumerate(steps):
                z = output if i == len(steps) - 1 else f"{output}.{i}"
                more = [f"{output}.first", f"{output}.last", "axis"] if step == "Slice" else []
                attributes = {"perm": [0, 2, 1]} if step == "Transpose" else {}
                nodes.append(helper.make_node(step, [y, *more], [z], **attributes))
                y = z
            columns = last - first
            shapes[output] = (batch, columns, 16) if transposed else (batch, 16, columns)
        picture = (batch, side, side, 3) if nhwc else (batch, 3, side, side)
        return save(path, {name: picture}, instead or shapes, [*nodes, *further], constants, opset, dtype)


def quantized_detector(
    path: Path,
    opset: int = 13,
    images: str = "images",
    boxes: str = "boxes",
    scores: str = "scores",
    batch: int | str = 1,
) -> Path:
    """Two convolutions between Q/DQ pairs, weights int8 by channel: 16 cells of 3 classes, and boxes around them."""
    rng = np.random.default_rng(9)
    at = np.stack(np.meshgrid(np.arange(4), np.arange(4)), -1).reshape(1, 16, 2) * 16.0 + 4
    constants: dict[str, np.ndarray] = {
        "zero": np.int8(0), "in_scale": np.float32(1 / 127), "mid_scale": np.float32(0.02),
        "w1": rng.integers(-127, 128, (8, 3, 4, 4)).astype(np.int8),
        "s1": rng.uniform(1e-3, 2e-3, 8).astype(np.float32),
        "z1": np.zeros(8, np.int8), "w2": rng.integers(-127, 128, (3, 8, 4, 4)).astype(np.int8),
        "s2": rng.uniform(1e-3, 2e-3, 3).astype(np.float32), "z2": np.zeros(3, np.int8),
        "rows": np.array([-1, 3, 16]), "corners": np.concatenate([at, at + 9], 2).astype(np.float32),
        "wide": np.float32([[0, 0, 0, 2], [0, 0, 2, 0], [1, 1, 0, 0]]),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", [images, "in_scale", "zero"], ["q0"]),
        helper.make_node("DequantizeLinear", ["q0", "in_scale", "zero"], ["d0"]),
        helper.make_node("DequantizeLinear", ["w1", "s1", "z1"], ["dw1"], axis=0),
        helper.make_node("Conv", ["d0", "dw1"], ["c1"], strides=[4, 4]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("QuantizeLinear", ["r1", "mid_scale", "zero"], ["q1"]),
        helper.make_node("DequantizeLinear", ["q1", "mid_scale", "zero"], ["d1"]),
        helper.make_node("DequantizeLinear", ["w2", "s2", "z2"], ["dw2"], axis=0),
        helper.make_node("Conv", ["d1", "dw2"], ["c2"], strides=[4, 4]),
        helper.make_node("Reshape", ["c2", "rows"], ["by_class"]),
        helper.make_node("Transpose", ["by_class"], ["logits"], perm=[0, 2, 1]),
        helper.make_node("Sigmoid", ["logits"], [scores]),
        helper.make_node("MatMul", [scores, "wide"], ["growth"]),
        helper.make_node("Add", ["corners", "growth"], [boxes]),
    ]
    shapes = {boxes: (batch, 16, 4), scores: (batch, 16, 3)}
    return save(path, {images: (batch, 3, DETECTOR_PX, DETECTOR_PX)}, shapes, nodes, constants, opset)


def table(columns: int, size: float = 1.0, logits: bool = False, scale: float = 1.0, corners: bool = False) -> Table:
    """Four columns of boxes a cell, cx, cy, w, h or corners, times `size`, and others that the picture changes a lot.

    `scale` is what a pixel at 1 counts for the network.
    """
    rng = np.random.default_rng(columns)
    wh = rng.uniform(8, 20, (16, 2))
    at = CELLS + rng.uniform(2, 14, (16, 2))
    boxes = np.concatenate([at - wh / 2, at + wh / 2] if corners else [at, wh], 1) * size
    rest = rng.uniform(-1, 1, (16, columns - 4)) if logits else rng.uniform(0.1, 0.5, (16, columns - 4))
    weight = np.concatenate(
        [rng.uniform(-2, 2, (3, 4)) * size, rng.uniform(0, 0.15, (3, columns - 4)) * (9 if logits else 1)], 1
    )
    return Table(weight / scale, np.concatenate([boxes, rest], 1))
