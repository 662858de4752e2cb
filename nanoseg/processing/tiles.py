"""Tiles: lists of the image tokens under boxes, for a decoder that computes masks only there.

A token is a cell of the embedding, and 4 x 4 logits of a mask. A tile lists 32 tokens of one prompt, so that a decoder
takes any number of boxes of any size as one array.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nanoseg.processing.boxes import mask_limits
from nanoseg.processing.geometry import CELL_PX, Geometry

TILE_TOKENS = 32
BLOCK = 4  # logits of a token, along a side
NOT_COMPUTED = -32.0  # logit where no token is listed: as far from a mask as a decoder's own are there


def mask_hw(geometry: Geometry) -> tuple[int, int]:
    """Return height and width of the logits of a mask: 4g, 4g."""
    side = geometry.encoder_px // CELL_PX * BLOCK
    return side, side


class Tiles(NamedTuple):
    """Tokens in tiles; those of a prompt follow one another, row by row, and its last tile repeats its last token."""

    windows: np.ndarray  # (N, 4) int: the tokens' left, top, right and bottom; right and bottom are exclusive
    prompts: np.ndarray  # (T,) int32
    tokens: np.ndarray  # (T, 32) int32

    @classmethod
    def of(cls, boxes: np.ndarray, geometry: Geometry) -> Tiles:
        """List the tokens that the masks of boxes need: those under the masks' limits, and around.

        Args:
            boxes: (N, 4) float32, xyxy in pixels of the frame; of each one token at least is listed.
            geometry: the frame's geometry.
        """
        grid = geometry.encoder_px // CELL_PX
        scale, _ = geometry.cells(BLOCK * grid)
        # A pixel reads the logits on both sides of its centre; by the square, or rounded as torch does, one more.
        reach = 0.5 if geometry.resize == "cv2" else 2.5
        cells = mask_limits(boxes, geometry.frame_hw) * np.tile(scale, 2) + (-reach, -reach, reach, reach)
        first = np.clip(np.floor(cells[:, :2] / BLOCK).astype(np.intp), 0, grid - 1)
        last = np.clip(np.floor(cells[:, 2:] / BLOCK).astype(np.intp) + 1, first + 1, grid)
        windows = np.concatenate([first, last], 1)
        prompts, tokens = [], []
        for index, (left, top, right, bottom) in enumerate(windows.tolist()):
            listed = (np.arange(top, bottom)[:, None] * grid + np.arange(left, right)).ravel()
            count = -(-len(listed) // TILE_TOKENS)
            tokens.append(np.pad(listed, (0, count * TILE_TOKENS - len(listed)), mode="edge"))
            prompts.append(np.full(count, index))
        return cls(
            windows,
            np.concatenate(prompts).astype(np.int32),
            np.concatenate(tokens).astype(np.int32).reshape(-1, TILE_TOKENS),
        )

    def place(self, tiles: np.ndarray, logits: np.ndarray) -> None:
        """Write a decoder's output to its places in whole masks, and NOT_COMPUTED everywhere else.

        Args:
            tiles: (T, 32, 4, 4) float32: the decoder's output.
            logits: (N, 4g, 4g) float32, which is overwritten.
        """
        logits.fill(NOT_COMPUTED)
        start = 0
        for mask, (left, top, right, bottom) in zip(logits, self.windows.tolist(), strict=True):
            rows, columns = bottom - top, right - left
            blocks = tiles.reshape(-1, BLOCK, BLOCK)[start : start + rows * columns]
            part = blocks.reshape(rows, columns, BLOCK, BLOCK).swapaxes(1, 2).reshape(rows * BLOCK, -1)
            mask[top * BLOCK : bottom * BLOCK, left * BLOCK : right * BLOCK] = part
            start += -(-rows * columns // TILE_TOKENS) * TILE_TOKENS
