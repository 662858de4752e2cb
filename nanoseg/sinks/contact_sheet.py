"""A contact sheet: a few pictures of a run, spread evenly over it, in one."""

from __future__ import annotations

import math

import numpy as np

from nanoseg.errors import needs

with needs("OpenCV", "opencv"):
    import cv2

COLUMNS = 3
TILES = COLUMNS * COLUMNS


class ContactSheet:
    """Takes every picture of a run, however long, and keeps about twice as many as are shown."""

    def __init__(self, tile_wh: tuple[int, int] | None = None) -> None:
        """`tile_wh`: pixels of a tile; without it, those of the first picture, or half of one wider than 960 px."""
        self._tile_wh = tile_wh
        self._kept: list[np.ndarray] = []
        self._seen, self._stride = 0, 1

    def add(self, picture: np.ndarray) -> None:
        """(H, W, 3) uint8 BGR; one of another shape is fitted into the tile."""
        if self._seen % self._stride == 0:
            if len(self._kept) == 2 * TILES:
                self._kept = self._kept[::2]
                self._stride *= 2
            if self._seen % self._stride == 0:
                self._kept.append(self._fitted(picture))
        self._seen += 1

    def png(self) -> bytes:
        """The sheet as a PNG file, three in a row; at least one picture must have been added."""
        places = np.linspace(0, len(self._kept) - 1, min(len(self._kept), TILES)).round().astype(int)
        columns = min(COLUMNS, math.ceil(math.sqrt(len(places))))
        height, width = self._kept[0].shape[:2]
        sheet = np.zeros((math.ceil(len(places) / columns) * height, columns * width, 3), np.uint8)
        for i, place in enumerate(places):
            top, left = i // columns * height, i % columns * width
            sheet[top : top + height, left : left + width] = self._kept[place]
        _, data = cv2.imencode(".png", sheet)
        return data.tobytes()

    def _fitted(self, picture: np.ndarray) -> np.ndarray:
        height, width = picture.shape[:2]
        if self._tile_wh is None:
            shrink = 2 if width > 960 else 1
            self._tile_wh = (max(1, width // shrink), max(1, height // shrink))
        tile_w, tile_h = self._tile_wh
        if (tile_w, tile_h) == (width, height):
            return np.array(picture)
        scale = min(tile_w / width, tile_h / height)
        new_w, new_h = max(1, int(width * scale)), max(1, int(height * scale))
        tile = np.zeros((tile_h, tile_w, 3), np.uint8)
        top, left = (tile_h - new_h) // 2, (tile_w - new_w) // 2
        resized = cv2.resize(picture, (new_w, new_h), interpolation=cv2.INTER_AREA)
        tile[top : top + new_h, left : left + new_w] = resized
        return tile
