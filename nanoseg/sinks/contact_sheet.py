"""A contact sheet: a few images of a run, evenly spread over it, in one image."""

from __future__ import annotations

import math

import numpy as np

from nanoseg.errors import needs

with needs("OpenCV", "opencv"):
    import cv2

COLUMNS = 3
MAX_TILES = COLUMNS * COLUMNS


class ContactSheet:
    """Takes every image of a run, however long, and keeps at most twice as many as it shows."""

    def __init__(self, tile_wh: tuple[int, int] | None = None) -> None:
        """Start an empty sheet.

        Args:
            tile_wh: size of a tile in pixels; without it that of the first image, halved if that is wider than 960.
        """
        self._tile_wh = tile_wh
        self._tiles: list[np.ndarray] = []
        self._count, self._stride = 0, 1

    @property
    def is_empty(self) -> bool:
        """Whether no image was added."""
        return not self._tiles

    def add(self, image: np.ndarray) -> None:
        """Take an (H, W, 3) uint8 BGR image; one of another shape than the tile is fitted into it."""
        if self._count % self._stride == 0:
            if len(self._tiles) == 2 * MAX_TILES:
                self._tiles = self._tiles[::2]
                self._stride *= 2
            if self._count % self._stride == 0:
                self._tiles.append(self._fit(image))
        self._count += 1

    def encode_png(self) -> bytes:
        """Return the sheet as a PNG file, three tiles in a row; at least one image must have been added."""
        chosen = np.linspace(0, len(self._tiles) - 1, min(len(self._tiles), MAX_TILES)).round().astype(int)
        columns = min(COLUMNS, math.ceil(math.sqrt(len(chosen))))
        height, width = self._tiles[0].shape[:2]
        sheet = np.zeros((math.ceil(len(chosen) / columns) * height, columns * width, 3), np.uint8)
        for i, index in enumerate(chosen):
            top, left = i // columns * height, i % columns * width
            sheet[top : top + height, left : left + width] = self._tiles[index]
        _, data = cv2.imencode(".png", sheet)
        return data.tobytes()

    def _fit(self, image: np.ndarray) -> np.ndarray:
        """Return the image in a tile: scaled to fit, centred on black."""
        height, width = image.shape[:2]
        if self._tile_wh is None:
            divisor = 2 if width > 960 else 1
            self._tile_wh = (max(1, width // divisor), max(1, height // divisor))
        tile_w, tile_h = self._tile_wh
        if (tile_w, tile_h) == (width, height):
            return np.array(image)
        scale = min(tile_w / width, tile_h / height)
        new_w, new_h = max(1, int(width * scale)), max(1, int(height * scale))
        tile = np.zeros((tile_h, tile_w, 3), np.uint8)
        top, left = (tile_h - new_h) // 2, (tile_w - new_w) // 2
        resized = cv2.resize(image, (new_w, new_h), interpolation=cv2.INTER_AREA)
        tile[top : top + new_h, left : left + new_w] = resized
        return tile
