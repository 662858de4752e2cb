"""Recipes: how a constant of an exported network comes from the weights of its state_dict.

A recipe is JSON, `{"of": [names], "do": [[operation, numbers...], ...]}`: the weights, joined along their first axis,
then the operations in order; the result is reshaped to the constant's own shape.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


def apply_recipe(recipe: str, weights: Mapping[str, np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """Return the constant, float32.

    Raises:
        KeyError: A weight is missing.
        ValueError: The weights are of other shapes.
    """
    wanted = json.loads(recipe)
    parts = [weights[name] for name in wanted["of"]]
    value = np.concatenate(parts) if len(parts) > 1 else parts[0]
    for operation, *arguments in wanted["do"]:
        value = OPERATIONS[operation](value, *arguments)
    return np.ascontiguousarray(value.astype(np.float32).reshape(shape))


def sources(recipe: str) -> list[str]:
    """Return the names of the weights that a recipe reads."""
    return list(json.loads(recipe)["of"])


def window_bias(table: np.ndarray) -> np.ndarray:
    """Return TinyViT's attention bias (heads, cells, cells) of its table (heads, w * w) by |dy| and |dx|."""
    window = math.isqrt(table.shape[1])
    y, x = np.divmod(np.arange(window * window), window)
    return table[:, np.abs(y[:, None] - y) * window + np.abs(x[:, None] - x)]


def _phase(gaussian: np.ndarray, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Return sine and cosine (2, cells, 128) of the positions of cell centres, for x and y."""
    centre = (2 * np.arange(cells, dtype=np.float32) + 1) / np.float32(cells) - np.float32(1)
    phase = centre[None, :, None] * gaussian.astype(np.float32)[:, None] * np.float32(2 * math.pi)
    return np.sin(phase), np.cos(phase)


def position_columns(gaussian: np.ndarray, cells: int) -> np.ndarray:
    """Return the column table (2, cells, 256) of SAM's position encoding, see models.prompt_encoder."""
    (sine, _), (cosine, _) = _phase(gaussian, cells)
    return np.stack([np.concatenate([sine, cosine], -1), np.concatenate([cosine, -sine], -1)])


def position_rows(gaussian: np.ndarray, cells: int) -> np.ndarray:
    """Return the row table (2, cells, 256) of SAM's position encoding."""
    (_, sine), (_, cosine) = _phase(gaussian, cells)
    return np.stack([np.concatenate([cosine, cosine], -1), np.concatenate([sine, sine], -1)])


OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "row": lambda value, index: value[index],
    "reshape": lambda value, *shape: value.reshape(shape),
    "transpose": lambda value, *axes: value.transpose(axes),
    "scale": lambda value, factor: value * np.float32(factor),
    "tile": lambda value, times: np.tile(value, times),
    "window_bias": window_bias,
    "position_columns": position_columns,
    "position_rows": position_rows,
}
