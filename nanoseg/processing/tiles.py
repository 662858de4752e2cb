"""Tiles: lists of the image tokens under boxes, for a decoder that computes masks only there.

A token is a cell of the embedding, and 4 x 4 logits of a mask. A tile lists 32 tokens of one prompt, so that a decoder
takes any number of boxes of any size as one array.
"""

from __future__ import annotations

from collections.abc import Iterator
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
        reaches = np.array((-reach, -reach, reach, reach))
        cells = np.floor((mask_limits(boxes, geometry.frame_hw) * np.array(scale * 2) + reaches) / BLOCK)
        first = np.minimum(np.maximum(cells[:, :2].astype(np.int32), 0), grid - 1)
        last = np.minimum(np.maximum(cells[:, 2:].astype(np.int32) + 1, first + 1), grid)
        columns, listed = (last - first)[:, 0], (last - first).prod(1)
        counts = -(-listed // TILE_TOKENS)  # of tiles
        prompts = np.repeat(np.arange(len(boxes), dtype=np.int32), counts)
        # The place of each token within its window: a tile that is not full repeats the last.
        number = np.arange(len(prompts)) - (np.cumsum(counts) - counts)[prompts]
        within = (number[:, None] * TILE_TOKENS + np.arange(TILE_TOKENS)).astype(np.int32)
        within = np.minimum(within, (listed - 1)[prompts, None].astype(np.int32))
        row, column = np.divmod(within, columns[prompts, None])
        tokens = row * grid + column + (first[:, 1] * grid + first[:, 0])[prompts, None]
        return cls(np.concatenate([first, last], 1), prompts, tokens.astype(np.int32))

    def batches(self, boxes: int, tiles: int) -> Iterator[tuple[slice, Tiles]]:
        """Yield batches of at most so many boxes and tiles; a box of more tiles is a batch of its own."""
        if len(self.windows) <= boxes and len(self.prompts) <= tiles:
            yield slice(0, len(self.windows)), self
            return
        counts, start = np.bincount(self.prompts, minlength=len(self.windows)), 0
        while start < len(self.windows):
            fits = np.cumsum(counts[start : start + boxes]) <= tiles
            part = slice(start, start + max(int(fits.sum()), 1))
            yield part, self.part(part)
            start = part.stop

    def part(self, boxes: slice) -> Tiles:
        """Return the tiles of some boxes that follow one another."""
        first, end = np.searchsorted(self.prompts, (boxes.start, boxes.stop))
        return Tiles(self.windows[boxes], self.prompts[first:end] - np.int32(boxes.start), self.tokens[first:end])

    def place(self, tiles: np.ndarray, logits: np.ndarray, blank: bool = False) -> None:
        """Write a decoder's output to its places in whole masks, and NOT_COMPUTED everywhere else.

        Args:
            tiles: (T, 32, 4, 4) float32: the decoder's output.
            logits: (N, 4g, 4g) float32, which is overwritten.
            blank: Whether it is NOT_COMPUTED everywhere.
        """
        if not blank:
            logits.fill(NOT_COMPUTED)
        count, grid = len(logits), logits.shape[-1] // BLOCK
        blocks = logits.reshape(count, grid, BLOCK, grid, BLOCK).swapaxes(2, 3)
        tokens, start = tiles.reshape(-1, BLOCK, BLOCK), 0
        for mask, (left, top, right, bottom) in zip(blocks, self.windows.tolist(), strict=True):
            rows, columns = bottom - top, right - left
            listed = tokens[start : start + rows * columns]
            mask[top:bottom, left:right] = listed.reshape(rows, columns, BLOCK, BLOCK)
            start += -(-rows * columns // TILE_TOKENS) * TILE_TOKENS

    def clear(self, logits: np.ndarray) -> None:
        """Write NOT_COMPUTED where place() has written."""
        for mask, (left, top, right, bottom) in zip(logits, (self.windows * BLOCK).tolist(), strict=True):
            mask[top:bottom, left:right] = NOT_COMPUTED
