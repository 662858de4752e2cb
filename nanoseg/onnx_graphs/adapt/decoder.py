"""Adapter for mask decoders, nanoseg's own and SAM's exports: number of prompts and masks, and absent points."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.adapt.constant_sums import unroll_constant_sums
from nanoseg.onnx_graphs.deploy.best_mask import MASKS
from nanoseg.onnx_graphs.model.contract import DECODER, MASK_DECODER, MASK_INPUTS, SourceNetwork, load_network
from nanoseg.onnx_graphs.model.run import nearly_equal, run_model
from nanoseg.onnx_graphs.model.shapes import random_feeds, set_input_dims
from nanoseg.onnx_graphs.model.simplify import simplify
from nanoseg.types import ABSENT, BOTTOM_RIGHT, TOP_LEFT

SINGLE_MASK = 1  # of an export that chooses the best mask itself (segment-anything's --return-single-mask)


def load_decoder(path: str | Path, mask_prompts: bool = False) -> SourceNetwork:
    """Load a mask decoder.

    It keeps a dynamic number of prompts (no dim N) only where it supports absent points, label -2. Others, such as
    SAM's own exports, get N = 1: they are called once a prompt, with as many points as the prompt has.

    Args:
        path: an ONNX file.
        mask_prompts: load a decoder that takes masks as prompts, too.

    Raises:
        BundleError: it does not fulfil the contract.
    """
    decoder = load_network(path, MASK_DECODER) if mask_prompts else load_network(path, DECODER, zero_inputs=MASK_INPUTS)
    unroll_constant_sums(decoder.model)
    dims = decoder.dims
    if dims["k"] not in (SINGLE_MASK, MASKS):
        raise BundleError(f"{path}: 'low_res_masks' wants {MASKS} masks a prompt, or {SINGLE_MASK}, got {dims['k']}")
    if dims.get("N", 1) != 1:
        raise BundleError(f"{path}: 'point_coords' wants one prompt or any number, got {dims['N']}; export it so")
    if "N" not in dims and not _supports_absent_points(decoder):
        decoder = _with_one_prompt(decoder)
    return decoder


def _supports_absent_points(decoder: SourceNetwork) -> bool:
    """Return whether an absent point after a box changes nothing; False where the number of points is fixed."""
    if "P" in decoder.dims:
        return False
    noise = random_feeds(decoder.model, 1)
    side = 4.0 * decoder.dims["g"]
    corners = np.array([[[side, side], [2 * side, 3 * side]]], np.float32)
    labels = np.array([[TOP_LEFT, BOTTOM_RIGHT]], np.float32)
    box = {**noise, "point_coords": corners, "point_labels": labels}
    padded = {
        **noise,
        "point_coords": np.concatenate([corners, np.zeros((1, 1, 2), np.float32)], 1),
        "point_labels": np.append(labels, np.float32(ABSENT))[None],
    }
    try:
        wanted = run_model(decoder.model, box)
    except BundleError:
        return True  # it never runs, which is reported when its graph is validated
    if not all(np.isfinite(want).all() for want in wanted.values()):
        return True  # reported then, too
    try:
        got = run_model(decoder.model, padded)
    except BundleError:
        return False
    return all(nearly_equal(want, got[name], 1e-3, 1e-3 * np.abs(want).max(initial=0)) for name, want in wanted.items())


def _with_one_prompt(decoder: SourceNetwork) -> SourceNetwork:
    """Return the decoder with one prompt a call."""
    model = decoder.model
    rank = {value.name: len(value.type.tensor_type.shape.dim) for value in model.graph.input}
    per_prompt = ("point_coords", "point_labels", *MASK_INPUTS)
    set_input_dims(model, {name: (1, *(None,) * (rank[name] - 1)) for name in per_prompt if name in rank})
    return replace(decoder, model=simplify(model), dims={**decoder.dims, "N": 1})
