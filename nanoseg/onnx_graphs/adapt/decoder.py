"""Mask decoders, ours and those of SAM's own exporters: how many prompts and masks one has, and what it knows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.deploy.best_mask import MASKS
from nanoseg.onnx_graphs.model.contract import DECODER, MASK_DECODER, MASK_INPUTS, SourceNetwork, load_network
from nanoseg.onnx_graphs.model.run import run_model
from nanoseg.onnx_graphs.model.shapes import random_feeds, set_input_dims
from nanoseg.onnx_graphs.model.simplify import simplify
from nanoseg.types import ABSENT, BOTTOM_RIGHT, TOP_LEFT

ONE = 1  # the mask of an export that chooses itself (segment-anything's --return-single-mask)


def load_decoder(path: str | Path, masks: bool = False) -> SourceNetwork:
    """Read a decoder, one that takes `masks` as prompts where that is wanted; raises BundleError.

    It takes any number of prompts (no side N) only where it knows absent points, label -2. Others, such as SAM's own
    exports, come with N = 1: to be called once a prompt, with as many points as the prompt has.
    """
    decoder = load_network(path, MASK_DECODER) if masks else load_network(path, DECODER, zero_inputs=MASK_INPUTS)
    sides = decoder.dims
    if sides["k"] not in (ONE, MASKS):
        raise BundleError(f"{path}: 'low_res_masks' wants {MASKS} masks a prompt, or {ONE}, got {sides['k']}")
    if sides.get("N", 1) != 1:
        raise BundleError(f"{path}: 'point_coords' wants one prompt or any number, got {sides['N']}; export it so")
    if "N" not in sides and not _knows_absent(decoder):
        decoder = _with_one_prompt(decoder)
    return decoder


def _knows_absent(decoder: SourceNetwork) -> bool:
    """Whether an absent point after a box changes nothing; where the number of points is fixed, nobody can tell."""
    if "P" in decoder.dims:
        return False
    noise = random_feeds(decoder.model, 1)
    side = 4.0 * decoder.dims["g"]
    corners = np.array([[[side, side], [2 * side, 3 * side]]], np.float32)
    labels = np.array([[TOP_LEFT, BOTTOM_RIGHT]], np.float32)
    box = {**noise, "point_coords": corners, "point_labels": labels}
    more = {
        **noise,
        "point_coords": np.concatenate([corners, np.zeros((1, 1, 2), np.float32)], 1),
        "point_labels": np.append(labels, np.float32(ABSENT))[None],
    }
    try:
        wanted = run_model(decoder.model, box)
    except BundleError:
        return True  # it runs for nobody, and whoever composes a graph of it says so
    try:
        got = run_model(decoder.model, more)
    except BundleError:
        return False
    return all(
        np.allclose(got[name], want, rtol=1e-3, atol=1e-3 * float(np.abs(want).max(initial=0)))
        for name, want in wanted.items()
    )


def _with_one_prompt(decoder: SourceNetwork) -> SourceNetwork:
    model = decoder.model
    rank = {value.name: len(value.type.tensor_type.shape.dim) for value in model.graph.input}
    per_prompt = ("point_coords", "point_labels", *MASK_INPUTS)
    set_input_dims(model, {name: (1, *(None,) * (rank[name] - 1)) for name in per_prompt if name in rank})
    return replace(decoder, model=simplify(model), dims={**decoder.dims, "N": 1})
