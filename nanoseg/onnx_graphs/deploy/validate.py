"""Validate a detector and composed graphs by running them once with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.deploy.low_rank.graph import LOW_RANK
from nanoseg.onnx_graphs.model.contract import SourceNetwork
from nanoseg.onnx_graphs.model.run import Session
from nanoseg.processing.tiles import BLOCK, TILE_TOKENS

# One wider and higher than every input, and one that is neither.
FRAMES_HW = ((720, 1280), (97, 61))
# Boxes that reach this many times further than the input, or stay within this many pixels, are not in pixels.
MAX_REACH, MIN_REACH_PX = 20, 2


def run_graph(path: Path, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run a graph once and return its outputs by name.

    Raises:
        BundleError: it does not load or run, or an output is not finite or of another shape than declared.
    """
    return run_checked(Session(path, path.name), path.name, feeds)


def validate_pipeline(folder: Path) -> None:
    """Run all graphs of a folder, one after the other; the decoder with its number of prompts, or with 1 and 3.

    Raises:
        BundleError: a graph does not run, or its outputs are not finite or of another shape than declared.
    """
    prepared: dict[str, np.ndarray] = {}
    for height, width in FRAMES_HW:
        frame = np.full((1, height, width, 3), 127, np.uint8)
        prepared = run_graph(folder / "prepare.onnx", {"frame": frame})
    geometry = prepared["geometry"]
    thresholds = {"confidence": np.array(0.25, np.float32), "iou": np.array(0.7, np.float32)}
    run_graph(folder / "detect.onnx", {"images": prepared["images"], "geometry": geometry, **thresholds})
    embedding = run_graph(folder / "embed.onnx", {"image": prepared["image"]})["image_embeddings"]
    for name in ("segment.onnx", "segment_mask.onnx"):
        if (folder / name).exists():
            _run_decoder(folder / name, {"image_embeddings": embedding, "geometry": geometry})
    if (folder / "segment_boxes.onnx").exists():
        _compare_boxes(folder, {"image_embeddings": embedding, "geometry": geometry})


def low_rank_difference(folder: Path) -> float:
    """Return how far segment_boxes_low_rank is from segment_boxes for an image of noise, in parts of the largest value.

    Raises:
        BundleError: as `run_graph`.
    """
    frame = np.random.default_rng(0).integers(0, 256, (1, *FRAMES_HW[0], 3), np.uint8)
    prepared = run_graph(folder / "prepare.onnx", {"frame": frame})
    grid_feeds = {"geometry": prepared["geometry"], **run_graph(folder / "embed.onnx", {"image": prepared["image"]})}
    feeds = {**grid_feeds, **_some_tiles(grid_feeds["image_embeddings"].shape[2])}
    wanted, got = (run_graph(folder / f"{name}.onnx", feeds) for name in ("segment_boxes", LOW_RANK))
    return max(float(np.abs(got[name] - want).max() / max(1.0, np.abs(want).max())) for name, want in wanted.items())


def validate_detector(detector: SourceNetwork) -> None:
    """Check that a detector's outputs for noise are probabilities and corners in pixels.

    Raises:
        BundleError: a score is outside 0..1, or the boxes are not corners, or not in pixels.
    """
    side = detector.dims["S"]
    noise = np.random.default_rng(0).random((1, 3, side, side), np.float32)
    name = str(detector.path)
    found = run_checked(Session(detector.model, name), name, {"images": noise})
    boxes, scores = found["boxes"][0], found["scores"]
    low, high = float(scores.min()), float(scores.max())
    if low < -1e-3 or high > 1 + 1e-3:
        raise BundleError(
            f"{name}: wanted scores from 0 to 1, got {low:.3g} to {high:.3g}; "
            "for logits give activation in --detector-spec"
        )
    ordered = float((boxes[:, :2] <= boxes[:, 2:]).all(1).mean())
    if ordered < 0.5:
        raise BundleError(
            f"{name}: wanted boxes as left, top, right, bottom, but {1 - ordered:.0%} have right before left or "
            "bottom before top; give their box_form in --detector-spec"
        )
    reach = float(np.abs(boxes).max())
    if 0 < reach <= MIN_REACH_PX or reach > MAX_REACH * side:
        raise BundleError(
            f"{name}: wanted boxes in pixels of an input of {side}, got some that reach {reach:.3g}; "
            "for normalised boxes give normalised in --detector-spec"
        )


def decoder_prompts(session: Session, n: int, side: int, shift: float = 0) -> dict[str, np.ndarray]:
    """Return the inputs for n prompts of a decoder, without the embedding: a box's corners, then points.

    Args:
        session: the decoder.
        n: number of prompts.
        side: side of its embedding, g.
        shift: what is added to the coordinates.
    """
    points = session.inputs["point_coords"][1]
    p = points if isinstance(points, int) else 2
    corners = np.resize(np.array([[10, 10], [40, 60]], np.float32), (p, 2)) + np.float32(shift)
    labels = np.array([2, 3] + [1] * p, np.float32)[:p]
    prompt = {"point_coords": np.tile(corners, (n, 1, 1)), "point_labels": np.tile(labels, (n, 1))}
    if "mask_input" in session.inputs:
        mask = np.linspace(-8, 8, n * 16 * side * side, dtype=np.float32)
        prompt["mask_input"] = mask.reshape(n, 1, 4 * side, 4 * side)
        prompt["has_mask_input"] = (np.arange(n) % 2 == 0).astype(np.float32)
    return prompt


def run_checked(session: Session, name: str, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run a session once and return its outputs by name.

    Raises:
        BundleError: it does not run, or an output is not finite or of another shape than declared.
    """
    outputs = session(list(session.outputs), feeds)
    for key, value in outputs.items():
        if not np.isfinite(value).all():
            raise BundleError(f"{name}: '{key}' holds NaN or infinity for a finite input")
        wanted = session.outputs[key]
        if any(isinstance(want, int) and want != got for want, got in zip(wanted, value.shape, strict=True)):
            raise BundleError(f"{name}: '{key}' wants shape {tuple(wanted)}, got {value.shape}")
    return outputs


def _run_decoder(path: Path, feeds: Mapping[str, np.ndarray]) -> None:
    session = Session(path, path.name)
    prompts = session.inputs["point_coords"][0]
    for n in (prompts,) if isinstance(prompts, int) else (1, 3):
        prompt = decoder_prompts(session, n, feeds["image_embeddings"].shape[2])
        masks = run_checked(session, path.name, {**feeds, **prompt})["low_res_masks"]
        if len(masks) != n:
            raise BundleError(f"{path.name}: wanted a mask for each of {n} prompts, got {len(masks)}")


def _compare_boxes(folder: Path, feeds: Mapping[str, np.ndarray]) -> None:
    """Check that segment_boxes gives the logits that segment gives: of three boxes, at some tokens of each."""
    grid = feeds["image_embeddings"].shape[2]
    tiles = _some_tiles(grid)
    prompts, listed = tiles["tile_prompts"], tiles["tile_tokens"]
    labels = np.tile(np.array([2, 3], np.float32), (3, 1))
    corners = {"point_coords": tiles["boxes"].reshape(3, 2, 2), "point_labels": labels}
    whole = run_graph(folder / "segment.onnx", {**feeds, **corners})
    best, iou = np.arange(3), whole["iou_predictions"]
    masks = whole["low_res_masks"][best, iou.argmax(1)]
    found = run_graph(folder / "segment_boxes.onnx", {**feeds, **tiles})
    blocks = masks.reshape(3, grid, BLOCK, grid, BLOCK).swapaxes(2, 3).reshape(3, grid * grid, BLOCK, BLOCK)
    for wanted, got in (
        (blocks[prompts[:, None], listed], found["tile_logits"]),
        (iou.max(1, keepdims=True), found["iou_predictions"]),
    ):
        difference, largest = float(np.abs(wanted - got).max()), float(np.abs(wanted).max())
        if difference > 1e-3 * max(largest, 1.0):
            raise BundleError(f"segment_boxes.onnx: wanted the values of segment.onnx, got some {difference:.3g} away")


def _some_tiles(grid: int) -> dict[str, np.ndarray]:
    """Return three boxes, and some tokens of each all over an embedding of this side."""
    tokens = np.arange(2 * TILE_TOKENS) * (grid * grid - 1) // (2 * TILE_TOKENS - 1)
    return {
        "boxes": np.array([[10, 5, 50, 60], [0, 0, 61, 97], [30, 40, 31, 41]], np.float32),
        "tile_prompts": np.array([2, 0, 1, 1], np.int32),
        "tile_tokens": np.concatenate([tokens, tokens[::-1]]).reshape(4, TILE_TOKENS).astype(np.int32),
    }
