"""Write the skeletons of nanoseg.onnx_graphs.skeletons: `python -m nanoseg.models.export.skeletons`.

Each network is exported with random weights. Where each constant of the file came from is found by its values, as no
two weights are alike; its recipe takes the place of its data. What comes from no weight stays. A network whose export
changes needs its skeleton written anew: tests/models/export/test_skeletons.py says so.
"""

from __future__ import annotations

import json
import lzma
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from nanoseg.models.export.image_encoder import export_image_encoder
from nanoseg.models.export.mask_decoder import export_mask_decoder
from nanoseg.models.export.yolo_nas import export_yolo_nas
from nanoseg.models.mask_decoder import MaskDecoder
from nanoseg.models.tiny_vit import TinyViTEncoder
from nanoseg.models.yolo_nas import YoloNas
from nanoseg.onnx_graphs.skeletons.fill import SKELETONS, own_weights, skeleton_path
from nanoseg.onnx_graphs.skeletons.recipe import apply_recipe

SEED = 20261128
Recipe = dict[str, Any]
NETWORKS: Mapping[str, tuple[Callable[[], nn.Module], Callable[[Path, Path], Path]]] = {
    **{f"yolo_nas_{size}": (lambda size=size: YoloNas(size), export_yolo_nas) for size in "sml"},  # type: ignore[misc]
    "mobile_sam_tiny_vit": (TinyViTEncoder, export_image_encoder),
    "sam_mask_decoder": (MaskDecoder, export_mask_decoder),
}


def random_weights(name: str, seed: int = SEED) -> dict[str, np.ndarray]:
    """Return random weights of a network as its publisher's file has them, no two alike."""
    random, strip = np.random.default_rng(seed), SKELETONS[name].strip
    weights = {}
    for key, value in NETWORKS[name][0]().state_dict().items():
        shape = tuple(value.shape)
        if not value.is_floating_point():
            array = np.zeros(shape, np.int64)
        elif len(shape) > 1:
            array = random.normal(0, math.sqrt(2 / math.prod(shape[1:])), shape).astype(np.float32)
        elif key.endswith("running_var"):  # large ones, so that the activations stay small
            array = random.uniform(1.4, 4.2, shape).astype(np.float32)
        else:
            array = random.normal(float(key.endswith(("weight", "alpha"))), 0.1, shape).astype(np.float32)
        weights[f"{strip}{key}"] = array
    return weights


def export(name: str, weights: Mapping[str, np.ndarray], out: Path) -> onnx.ModelProto:
    """Return the exporter's network for these weights."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder, "weights.pt")
        torch.save({key: torch.from_numpy(value.copy()) for key, value in weights.items()}, checkpoint)
        return onnx.load(NETWORKS[name][1](checkpoint, out))


def make_skeleton(name: str, seed: int = SEED) -> onnx.ModelProto:
    """Return a network's skeleton, for its recipes to be applied to any weights."""
    weights = random_weights(name, seed)
    with tempfile.TemporaryDirectory() as folder:
        model = export(name, weights, Path(folder, f"{name}.onnx"))
    del model.metadata_props[:]
    del model.graph.value_info[:]
    fused = own_weights(name, weights, name).weights
    for constant in model.graph.initializer:
        value = onnx.numpy_helper.to_array(constant)
        recipe = find_recipe(value, constant.name, fused) if value.dtype == np.float32 and value.size > 1 else None
        if recipe is not None:
            constant.doc_string = json.dumps(recipe, separators=(",", ":"))
            constant.ClearField("raw_data")
    return model


def find_recipe(value: np.ndarray, name: str, weights: Mapping[str, np.ndarray]) -> Recipe | None:
    """Return a recipe that gives these values, None where there is none."""
    first = sorted(weights, key=lambda key: key != name)  # mostly it has its own name
    for recipe in _candidates(value, {key: weights[key] for key in first}):
        try:
            got = apply_recipe(json.dumps(recipe), weights, value.shape)
        except ValueError:
            continue
        if np.allclose(got, value, rtol=1e-4, atol=1e-6):
            return recipe
    return None


def _candidates(value: np.ndarray, weights: Mapping[str, np.ndarray]) -> Iterator[Recipe]:
    size = float(np.abs(value).sum(dtype=np.float64))
    for key, weight in weights.items():
        if weight.size == value.size:
            factor = _round_factor(size / max(float(np.abs(weight).sum(dtype=np.float64)), 1e-30))
            if factor is not None:
                scale = [] if factor == 1 else [["scale", factor]]
                for steps in _orders(weight.shape, value.shape):
                    yield {"of": [key], "do": [*steps, *scale]}
        elif weight.ndim == 1 and value.size % weight.size == 0:
            yield {"of": [key], "do": [["tile", value.size // weight.size]]}
        elif weight.ndim > 1 and weight[0].size == value.size:
            yield from ({"of": [key], "do": [["row", index]]} for index in range(len(weight)))
        if key.endswith("attention_biases"):
            yield {"of": [key], "do": [["window_bias"]]}
        if key.endswith("positional_encoding_gaussian_matrix"):
            for table in ("position_columns", "position_rows"):
                yield {"of": [key], "do": [[table, value.size // (2 * 2 * weight.shape[1])]]}
    yield from _joined(value, weights)


def _round_factor(factor: float) -> float | None:
    """Return 1, 1/n or 1/sqrt(n) where the factor is one; weights are scaled by no other."""
    n = round(factor**-2)
    return n**-0.5 if n and abs(n * factor**2 - 1) < 1e-5 else None


def _orders(shape: tuple[int, ...], wanted: tuple[int, ...]) -> Iterator[list[list[Any]]]:
    """Yield the ways to order a weight's values: as they are, its axes transposed, or its values reshaped before it."""
    yield []
    for axes in permutations(range(len(shape))):
        yield [["transpose", *axes]]
    for axes in permutations(range(len(wanted))):
        before = [0] * len(wanted)
        for axis, length in zip(axes, wanted, strict=True):
            before[axis] = length
        yield [["reshape", *before], ["transpose", *axes]]


def _joined(value: np.ndarray, weights: Mapping[str, np.ndarray]) -> Iterator[Recipe]:
    """Yield the weights whose rows, one weight after the other, are the rows of the value."""
    rows, names, index = value.reshape(-1, value.shape[-1]), [], 0
    while index < len(rows):
        row = rows[index]
        found = next((key for key, weight in weights.items() if _begins_with(weight, row)), None)
        if found is None:
            return
        names.append(found)
        index += len(weights[found])
    yield {"of": names, "do": []}


def _begins_with(weight: np.ndarray, row: np.ndarray) -> bool:
    return weight.ndim == 2 and np.array_equal(weight[0], row)


def write_skeletons() -> None:
    """Write the files of all skeletons, and print their sizes."""
    for name in NETWORKS:
        data = lzma.compress(make_skeleton(name).SerializeToString(deterministic=True), preset=9)
        skeleton_path(name).write_bytes(data)
        print(f"{skeleton_path(name)}: {len(data):,} bytes", flush=True)


if __name__ == "__main__":
    write_skeletons()
