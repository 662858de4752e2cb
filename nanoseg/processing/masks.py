"""Masks of a frame from low-resolution logits, computed on demand and only in the region of the object."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from nanoseg.processing import rle
from nanoseg.processing.boxes import mask_limits
from nanoseg.processing.geometry import Geometry
from nanoseg.processing.interpolate import Axis, torch_axis, torch_interpolate
from nanoseg.processing.polygons import mask_polygons
from nanoseg.processing.upsampling import PixelAxis, Region, edges, pixel_axis, positive

# Masks that are encoded at a time: they share numpy's calls, and its arrays stay in the cache.
_TOGETHER = 32


class Crop(NamedTuple):
    """The part of a frame that holds a mask, which is zero everywhere else."""

    left_px: int
    top_px: int
    mask: np.ndarray  # (h, w) bool


def best_per_prompt(confidence: np.ndarray, prompt: np.ndarray) -> np.ndarray:
    """Return the index of each prompt's most confident mask, in the prompts' order, for masks of `prompt` (M,)."""
    order = np.lexsort((-confidence, prompt))
    first = np.unique(prompt[order], return_index=True)[1]
    return np.asarray(order[first])


class Masks:
    """Masks of prompts on one frame, kept as the decoder's logits over the encoder's square.

    A pixel is inside a mask where the bilinear interpolation of the logits is above 0, inside the mask's region: the
    cells with positive logits grown by one, within the box (if there is one) grown by 10 % a side and 2 px. Logits are
    interpolated straight to the frame, as in NanoSAM, but with cells of their exact size. A geometry of
    `resize="nanosam"` truncates them, as NanoSAM does; one of "pil" goes by way of the encoder's square, as
    segment-anything does, which smooths once more: on the simulated line those masks and the straight ones have a mean
    IoU of 0.994, and mean IoUs with the ground truth that differ by 0.001. Both compute as torch does on a CPU, so that
    of the same logits, and without a box, their masks are the originals' to the pixel.
    """

    def __init__(
        self,
        logits: np.ndarray,
        confidence: np.ndarray,
        geometry: Geometry,
        boxes: np.ndarray | None = None,
        prompt: np.ndarray | None = None,
    ) -> None:
        """Wrap a decoder's output; see `from_output`.

        Args:
            logits: (N, 4g, 4g) float32.
            confidence: (N,) float32: the decoder's predicted IoU.
            geometry: Geometry of the frame.
            boxes: (N, 4) float32, xyxy in pixels of the frame, to which the masks are limited.
            prompt: (N,) int64: the prompt of each mask, by default one prompt a mask.
        """
        self.logits = logits
        self.confidence = confidence
        self.geometry = geometry
        self.boxes = boxes
        self.prompt = np.arange(len(logits)) if prompt is None else prompt
        # (N,) int64: the first mask that is the same one; itself, but for detections that share it.
        self.same = np.arange(len(logits))
        self._limits = None if boxes is None else mask_limits(boxes, geometry.frame_hw)
        self._scale, self._cells = geometry.cells(logits.shape[-1])

    @classmethod
    def from_output(
        cls,
        logits: np.ndarray,
        confidence: np.ndarray,
        geometry: Geometry,
        *,
        boxes: np.ndarray | None = None,
        every: bool = False,
    ) -> Masks:
        """Return the masks of N prompts from a decoder's output.

        Args:
            logits: (N, M, 4g, 4g) float32; M is the number of masks per prompt.
            confidence: (N, M) float32: their predicted IoU.
            geometry: Geometry of the frame.
            boxes: (N, 4) float32, xyxy in pixels of the frame, to which the masks are limited.
            every: Return all N M masks, those of a prompt one after another; otherwise of each prompt the one of the
                highest predicted IoU.

        Returns:
            N masks, or N M with `every`; `prompt` has the prompt of each.
        """
        count, per_prompt = confidence.shape
        if every:
            prompt = np.repeat(np.arange(count), per_prompt)
            limits = None if boxes is None else boxes[prompt]
            return cls(logits.reshape(-1, *logits.shape[2:]), confidence.ravel(), geometry, limits, prompt)
        if per_prompt == 1:
            return cls(logits[:, 0], confidence[:, 0], geometry, boxes)
        best, prompt = confidence.argmax(1), np.arange(count)
        return cls(logits[prompt, best], confidence[prompt, best], geometry, boxes)

    @classmethod
    def none(cls, geometry: Geometry) -> Masks:
        """Return an empty set of masks."""
        return cls(np.zeros((0, 1, 1), np.float32), np.zeros(0, np.float32), geometry, np.zeros((0, 4), np.float32))

    def __len__(self) -> int:
        return len(self.logits)

    def __repr__(self) -> str:
        height, width = self.geometry.frame_hw
        return f"{type(self).__name__}({len(self)} of a {width}x{height} frame)"

    def stability(self, offset: float = 1.0) -> np.ndarray:
        """Return the stability score of each mask, (N,) float32 in [0, 1]; that of an empty mask is 0.

        It is the IoU of the masks at thresholds `offset` and -`offset` at the logits' resolution: segment-anything's
        `calculate_stability_score`.
        """
        # One by one: a mask's booleans stay in the cache, and numpy counts all of an array fast, but not along axes.
        inner, outer = (
            np.array([np.count_nonzero(one > level) for one in self.logits], np.intp) for level in (offset, -offset)
        )
        return np.asarray(inner / np.maximum(outer, 1), np.float32)

    def best(self) -> Masks:
        """Return the most confident mask of each prompt, in the prompts' order."""
        return self.select(best_per_prompt(self.confidence, self.prompt))

    def select(self, indices: np.ndarray) -> Masks:
        """Return the masks of these indices (M,), in their order."""
        boxes = None if self.boxes is None else self.boxes[indices]
        chosen = Masks(self.logits[indices], self.confidence[indices], self.geometry, boxes, self.prompt[indices])
        _, first, place = np.unique(self.same[indices], return_index=True, return_inverse=True)
        chosen.same = first[place]
        return chosen

    def of_detections(self, own: np.ndarray) -> Masks:
        """Return the mask of each of N detections: `own` (N,) is its index among these, all of which are wanted."""
        if len(own) == len(self):
            return self
        chosen = self.select(own)
        chosen.prompt = np.arange(len(own))
        return chosen

    def materialize(self) -> RasterMasks:
        """Return the same masks as raster masks: their pixels are computed once, here, and kept."""
        return RasterMasks(self)

    def region(self, index: int) -> Region:
        """Return the part of the frame outside which mask `index` is zero; an empty region for an empty mask."""
        height, width = self.geometry.frame_hw
        (sx, sy), (rows, columns) = self._scale, self._cells
        left, top, right, bottom = 0, 0, width, height
        if self._limits is not None:
            left, top, right, bottom = self._limits[index].tolist()
        if right <= left or bottom <= top:
            return Region(0, 0, 0, 0)
        if self.geometry.resize == "pil":
            # Values of the square reach further than a cell; a larger region costs time, in this mode alone.
            return Region(left, top, right, bottom) if (self.logits[index] > 0).any() else Region(0, 0, 0, 0)
        # Only the cells that can reach a pixel of the box: its own and one around.
        column, row = _cell(left, sx, columns), _cell(top, sy, rows)
        rows_end, columns_end = _cell(bottom, sy, rows) + 2, _cell(right, sx, columns) + 2
        inside = self.logits[index, row : min(rows_end, rows), column : min(columns_end, columns)] > 0
        across = inside.any(0).nonzero()[0].tolist()
        if not across:
            return Region(0, 0, 0, 0)
        down = inside.any(1).nonzero()[0].tolist()
        last_column, last_row = column + across[-1], row + down[-1]
        # In float32, as torch computes them, centres are elsewhere by less than a pixel.
        rim = 0 if self.geometry.resize == "cv2" else 1
        # The value of the last cell whose centre is in the frame holds for all pixels after it.
        if last_column + 1 < columns:
            right = min(right, math.ceil((last_column + 2) / sx) + rim)
        if last_row + 1 < rows:
            bottom = min(bottom, math.ceil((last_row + 2) / sy) + rim)
        left = max(left, int((column + across[0] - 1) / sx) - rim)
        return Region(left, max(top, int((row + down[0] - 1) / sy) - rim), right, bottom)

    def crop(self, index: int) -> Crop:
        """Return mask `index` in its region."""
        region = self.region(index)
        if self.geometry.resize == "cv2":
            return Crop(region.left, region.top, positive(self.logits[index], *self._axes(), region))
        return Crop(region.left, region.top, self._values(index, region) > 0)

    def full(self) -> np.ndarray:
        """Return all masks in the whole frame, (N, H, W) bool, computed anew at each call."""
        masks = np.zeros((len(self), *self.geometry.frame_hw), np.bool_)
        for index, mask in enumerate(masks):
            left, top, crop = self.crop(index)
            mask[top : top + crop.shape[0], left : left + crop.shape[1]] = crop
        return masks

    def rle(self, index: int) -> dict[str, Any]:
        """Return mask `index` as COCO's `{"size": [H, W], "counts": text}`."""
        return self._rles([index])[0]

    def rles(self) -> list[dict[str, Any]]:
        """Return all masks as `rle` does, in less time than one by one."""
        indices = range(len(self))
        return [
            found
            for first in range(0, len(self), _TOGETHER)
            for found in self._rles(indices[first : first + _TOGETHER])
        ]

    def polygons(self, index: int, tolerance_px: float = 0.0) -> list[np.ndarray]:
        """Return the outlines of mask `index` along its pixels' borders, each (P, 2) int32 x, y in pixels of the frame.

        pycocotools makes the same mask of them. A hole is part of the polygon around it, by a cut without width.

        Args:
            index: Index of the mask.
            tolerance_px: Leave out corners, so that no outline moves by more than this.
        """
        left, top, mask = self.crop(index)
        return mask_polygons(mask, left, top, tolerance_px)

    def _rles(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        frame_hw = self.geometry.frame_hw
        if self.geometry.resize == "cv2" and self._axes()[0].below_one:
            # A detected object fills its box: to look where in it costs more than to interpolate the rest of it.
            limits = self._limits
            regions = (self.region(index) if limits is None else Region(*limits[index].tolist()) for index in indices)
            logits = (self.logits[index] for index in indices)
            return rle.encode_edges(*edges(logits, *self._axes(), regions), frame_hw)
        return [rle.encode_crop(mask, left, top, frame_hw) for left, top, mask in map(self.crop, indices)]

    def _axes(self) -> tuple[PixelAxis, PixelAxis]:
        """Return the axes of the frame's height and width over the logits, for `resize="cv2"`."""
        (height, width), (sx, sy), (rows, columns) = self.geometry.frame_hw, self._scale, self._cells
        return pixel_axis(height, sy, rows), pixel_axis(width, sx, columns)

    def _values(self, index: int, region: Region) -> np.ndarray:
        """Return the values of mask `index` at the pixels of a region as torch computes them."""
        logits, geometry = self.logits[index], self.geometry
        height, width = geometry.frame_hw
        cells = self._cells if geometry.resize == "nanosam" else geometry.encoder_hw
        rows = torch_axis(cells[0], height, region.top, region.bottom)
        columns = torch_axis(cells[1], width, region.left, region.right)
        if geometry.resize == "pil" and len(rows.before) and len(columns.before):
            # By way of the square, of which only a part is needed.
            (rows, top, bottom), (columns, left, right) = _from_first(rows), _from_first(columns)
            side, square = len(logits), geometry.encoder_px
            part = torch_axis(side, square, top, bottom), torch_axis(side, square, left, right)
            logits = torch_interpolate(logits, *part, (square, square))
        return torch_interpolate(logits, rows, columns, (height, width))


class RasterMasks(Masks):
    """Masks whose pixels are computed once and kept: a byte for each pixel of each mask's region."""

    def __init__(self, masks: Masks, crops: Sequence[Crop] | None = None) -> None:
        super().__init__(masks.logits, masks.confidence, masks.geometry, masks.boxes, masks.prompt)
        self.same = masks.same
        if crops is None:
            made = {index: masks.crop(index) for index in np.unique(self.same).tolist()}
            crops = [made[index] for index in self.same.tolist()]
        self._crops = crops

    def crop(self, index: int) -> Crop:
        """Return mask `index` in its region: the same array at each call."""
        return self._crops[index]

    def select(self, indices: np.ndarray) -> RasterMasks:
        """Return the raster masks of these indices (M,), in their order."""
        return RasterMasks(super().select(indices), [self._crops[index] for index in indices])

    def materialize(self) -> RasterMasks:
        """Return these masks themselves."""
        return self

    def _rles(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        # Of the pixels: the logits may have been overwritten since.
        crops = [self._crops[index] for index in indices]
        return [rle.encode_crop(crop.mask, crop.left_px, crop.top_px, self.geometry.frame_hw) for crop in crops]


def _from_first(axis: Axis) -> tuple[Axis, int, int]:
    """Return an axis that counts cells from the first it needs, that cell, and the one after the last."""
    first, last = int(axis.before[0]), int(axis.after[-1])
    return axis._replace(before=axis.before - first, after=axis.after - first), first, last + 1


def _cell(edge_px: int, scale: float, cells: int) -> int:
    return min(max(int(edge_px * scale - 0.5), 0), cells - 1)
