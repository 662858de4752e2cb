"""The simulated conveyor line: machine parts on a moving belt, with the ground truth of every frame.

Frame i is a pure function of (seed, i, size, objects, part sizes): frames can be rendered in any order and from any
thread.

    line = SimulatedLine(seed=1, size_wh=(640, 480))
    frame, truth = line.sample(500)
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import count
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

import numpy as np

from nanoseg.errors import UsageError, needs
from nanoseg.sources.simulator.belt import belt_texture, light_map, noise_tiles, rail
from nanoseg.sources.simulator.layout import BeltGeometry, Layout, Part, frame_random, world_random
from nanoseg.sources.simulator.shapes import PART_TYPES
from nanoseg.sources.simulator.sprites import Light, Sprite, render
from nanoseg.types import Frame

with needs("OpenCV", "opencv"):
    import cv2

LABELS = tuple(part_type.label for part_type in PART_TYPES)
TEST_SEED = 1_000_000  # seeds from here on are for tests and the demo, never for training

MIN_VISIBLE_PX, MIN_VISIBLE_SHARE = 64, 0.15


class PlacedSprite(NamedTuple):
    """A part's sprite in a frame; left and top may lie outside of it."""

    part: Part
    sprite: Sprite
    left_px: int
    top_px: int


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """Ground truth of one frame, without parts of which less than 15 % of the area, or 64 pixels, are visible."""

    xyxy: np.ndarray  # (n, 4) float32: tight boxes of the visible masks, right and bottom exclusive
    class_id: np.ndarray  # (n,) int64: index into LABELS
    track_id: np.ndarray  # (n,) int64: the part's identity, the same in every frame
    masks: np.ndarray  # (n, H, W) bool: the visible pixels, without through-holes; disjoint

    def __len__(self) -> int:
        return len(self.xyxy)


class SimulatedLine:
    """A conveyor with its lamp and camera: an endless sequence of frames."""

    def __init__(
        self,
        seed: int = 0,
        size_wh: tuple[int, int] = (640, 480),
        objects: float = 6,
        part_px: tuple[float, float] = (80, 150),
    ) -> None:
        """Set the line up.

        Args:
            seed: of all random numbers, >= 0.
            size_wh: width and height of a frame in pixels, 32 to 8192 each.
            objects: mean number of parts in a frame, 0 to 64.
            part_px: smallest and largest longest side of a part, in pixels of a 640x480 frame; other frames scale it
                by min(W / 640, H / 480).

        Raises:
            UsageError: a value is out of range.
        """
        width, height = size_wh
        if seed < 0:
            raise UsageError(f"parts: seed wants a number >= 0, got {seed}")
        if not (32 <= width <= 8192 and 32 <= height <= 8192):
            raise UsageError(f"parts: size wants 32x32 to 8192x8192, got {width}x{height}")
        if not 0 <= objects <= 64:
            raise UsageError(f"parts: objects wants 0 to 64, got {objects:g}")
        if not 8 <= part_px[0] <= part_px[1] <= 400:
            raise UsageError(f"parts: part_px wants 8 <= low <= high <= 400, got {part_px[0]:g} to {part_px[1]:g}")
        self.seed, self.size_wh, self.objects, self.part_px = seed, (width, height), objects, part_px
        self.name = f"parts://?seed={seed}&size={width}x{height}&objects={objects:g}"
        scale = min(width / 640, height / 480)
        rng = world_random(seed)
        draw = rng.random(16)
        self._axis = 1 if draw[0] < 0.5 else 0  # the belt runs along x or along y
        self._sign = 1 if draw[1] < 0.5 else -1
        self._length, self._across = (width, height) if self._axis == 1 else (height, width)
        self.speed_px = (2 + 4 * float(draw[2])) * scale
        light = Light(float(draw[3]) * 2 * math.pi, 0.9 + 0.9 * float(draw[4]), 0.4 + 0.35 * float(draw[5]))
        self._rail_px = int((14 + 22 * draw[7]) * scale) if draw[6] < 0.4 else 0
        self._blur = int(draw[8] * 4)
        self._noise_level = int(draw[9] * 5)
        self._gain, self._gamma = 0.92 + 0.3 * float(draw[10]), 0.8 + 0.3 * float(draw[11])
        self._phase = rng.random((6, 2))
        self._lamp_travel_px = max(int(120 * scale), 2)
        belt = belt_texture(rng, max(round(512 * scale), 16), self._across, scale)
        self._belt = self._along_belt(belt)
        self._rails = self._make_rails(rng)
        self._lamp = light_map(rng, size_wh, self._lamp_travel_px)
        low_px, high_px = part_px[0] * scale, part_px[1] * scale
        self._layout = Layout(seed, BeltGeometry(self._length, self._across, self._rail_px, low_px, high_px, objects))
        # Small, so that parts that have left the frame do not accumulate.
        self._sprite = lru_cache(maxsize=int(2 * objects) + 6)(partial(render, light=light))

    def __iter__(self) -> Iterator[Frame]:
        return (self.frame(i) for i in count())

    def frame(self, index: int) -> Frame:
        """Render frame `index`, counted from 0."""
        return self._render(index, self._place_sprites(index))

    def truth(self, index: int) -> GroundTruth:
        """Return the ground truth of frame `index` without rendering it."""
        return self._ground_truth(self._place_sprites(index))

    def sample(self, index: int) -> tuple[Frame, GroundTruth]:
        """Return frame `index` and its ground truth, which is faster than both apart."""
        placed = self._place_sprites(index)
        return self._render(index, placed), self._ground_truth(placed)

    def travel_px(self, index: int) -> tuple[int, int]:
        """Return how far the belt has moved since frame 0, in pixels: x right, y down."""
        travel = self._sign * self._distance_px(index)
        return (travel, 0) if self._axis == 1 else (0, travel)

    def _distance_px(self, index: int) -> int:
        if index < 0:
            raise UsageError(f"{self.name}: frames are numbered from 0, got {index}")
        return math.floor(self.speed_px * index + 0.5)

    def _along_belt(self, image: np.ndarray) -> np.ndarray:
        """Turn an image whose rows run along the belt into the frame's axes."""
        return np.ascontiguousarray(image.transpose(1, 0, 2)) if self._axis == 1 else image

    def _make_rails(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray] | None:
        if not self._rail_px:
            return None
        first = rail(rng, self._length, self._rail_px)
        return self._along_belt(first), self._along_belt(np.ascontiguousarray(first[:, ::-1]))

    def _place_sprites(self, index: int) -> list[PlacedSprite]:
        """Return the sprites that overlap the frame, lowest first."""
        placed = []
        for part, along in self._layout.parts_near(self._distance_px(index)):
            along = along if self._sign > 0 else self._length - along
            x, y = (along, part.across_px) if self._axis == 1 else (part.across_px, along)
            sprite = self._sprite(part.spec)
            height, width = sprite.mask.shape
            left, top = x - width // 2, y - height // 2
            if -width < left < self.size_wh[0] and -height < top < self.size_wh[1]:
                placed.append(PlacedSprite(part, sprite, left, top))
        return placed

    def _overlap(self, sprite: Sprite, left: int, top: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Return the slices of the frame that a sprite covers, and those of the sprite that lie in the frame."""
        height, width = sprite.mask.shape
        x0, y0 = max(left, 0), max(top, 0)
        x1, y1 = min(left + width, self.size_wh[0]), min(top + height, self.size_wh[1])
        return (slice(y0, y1), slice(x0, x1)), (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))

    def _render(self, index: int, placed: list[PlacedSprite]) -> Frame:
        image = self._background(index)
        for _, sprite, left, top in placed:
            in_frame, in_sprite = self._overlap(sprite, left, top)
            patch = image[in_frame]
            cv2.multiply(patch, sprite.keep[in_sprite], dst=patch, scale=1 / 255)
            cv2.add(patch, sprite.add[in_sprite], dst=patch)
        return Frame(self._expose(index, image), index=index, captured_ns=time.time_ns(), name=self.name)

    def _background(self, index: int) -> np.ndarray:
        width, height = self.size_wh
        image = np.empty((height, width, 3), np.uint8)
        period, at = self._belt.shape[self._axis], 0
        source = -self._sign * self._distance_px(index) % period
        while at < self._length:
            length = min(period - source, self._length - at)
            to, of = slice(at, at + length), slice(source, source + length)
            if self._axis == 1:
                image[:, to] = self._belt[:, of]
            else:
                image[to] = self._belt[of]
            at, source = at + length, 0
        if self._rails:
            first, second = self._rails
            if self._axis == 1:
                image[: self._rail_px], image[-self._rail_px :] = first, second
            else:
                image[:, : self._rail_px], image[:, -self._rail_px :] = first, second
        return image

    def _expose(self, index: int, image: np.ndarray) -> np.ndarray:
        """Apply the lamp, which moves and changes, the lens and the sensor."""
        width, height = self.size_wh
        rng = frame_random(self.seed, index)
        wave = np.sin(2 * math.pi * (index / (60 + 500 * self._phase[:, 0]) + self._phase[:, 1]))
        left, top = (int((0.5 + 0.5 * w) * self._lamp_travel_px) for w in wave[:2])
        cv2.multiply(image, self._lamp[top : top + height, left : left + width], dst=image, scale=1 / 255)
        if self._blur == 1:
            image = cv2.GaussianBlur(image, (3, 3), 0.6 + 0.3 * float(wave[5] + 1))
        elif self._blur == 2:
            # A slow shutter: motion blur along the belt.
            image = cv2.blur(image, (3, 1) if self._axis == 1 else (1, 3))
        gain = self._gain * (1 + 0.10 * wave[2] + 0.02 * (rng.random() - 0.5))
        tint = np.array([1 - 0.05 * wave[3], 1 + 0.015 * wave[4], 1 + 0.05 * wave[3]])
        level = np.arange(256)[:, None] / 255
        curve = 255 * (level**self._gamma) * gain * tint
        image = cv2.LUT(image, np.clip(curve, 0, 255).astype(np.uint8)[None])
        if self._noise_level:
            more, less = noise_tiles(height + 64, width + 64, self._noise_level - 1)
            x, y = int(rng.random() * 64), int(rng.random() * 64)
            cv2.add(image, more[y : y + height, x : x + width], dst=image)
            cv2.subtract(image, less[y : y + height, x : x + width], dst=image)
        return image

    def _ground_truth(self, placed: list[PlacedSprite]) -> GroundTruth:
        width, height = self.size_wh
        owner = np.zeros((height, width), np.uint16)
        for number, (_, sprite, left, top) in enumerate(placed, 1):
            in_frame, in_sprite = self._overlap(sprite, left, top)
            owner[in_frame][sprite.mask[in_sprite]] = number
        boxes, classes, tracks, masks = [], [], [], []
        for number, (part, sprite, left, top) in enumerate(placed, 1):
            in_frame, _ = self._overlap(sprite, left, top)
            visible = owner[in_frame] == number
            area = int(np.count_nonzero(visible))
            if area < max(MIN_VISIBLE_PX, MIN_VISIBLE_SHARE * sprite.area_px):
                continue
            mask = np.zeros((height, width), bool)
            mask[in_frame] = visible
            rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
            x0, y0 = in_frame[1].start, in_frame[0].start
            boxes.append((x0 + columns[0], y0 + rows[0], x0 + columns[-1] + 1, y0 + rows[-1] + 1))
            classes.append(part.spec.class_id)
            tracks.append(part.track_id)
            masks.append(mask)
        return GroundTruth(
            xyxy=np.array(boxes, np.float32).reshape(-1, 4),
            class_id=np.array(classes, np.int64),
            track_id=np.array(tracks, np.int64),
            masks=np.array(masks, bool).reshape(-1, height, width),
        )


def line_from_url(url: str) -> SimulatedLine:
    """Return the line of a URL, `parts://?seed=1&size=640x480&objects=6`; all keys are optional. Raises UsageError."""
    split = urlsplit(url)
    if split.scheme != "parts" or split.netloc or split.path.strip("/"):
        raise UsageError(f"{url}: wanted parts://?seed=1&size=640x480&objects=6")
    values = {"seed": 0, "width": 640, "height": 480, "objects": 6.0}
    try:
        pairs = parse_qsl(split.query, keep_blank_values=True, strict_parsing=bool(split.query))
    except ValueError as error:
        raise UsageError(f"{url}: wanted key=value pairs joined by &, got '{split.query}'") from error
    for key, value in pairs:
        try:
            if key == "seed":
                values["seed"] = int(value)
            elif key == "objects":
                values["objects"] = float(value)
            elif key == "size":
                width, height = value.lower().split("x")
                values["width"], values["height"] = int(width), int(height)
            else:
                raise UsageError(f"{url}: no such key '{key}'; there are seed, size and objects")
        except ValueError as error:
            wanted = {"seed": "a whole number", "objects": "a number", "size": "WIDTHxHEIGHT"}[key]
            raise UsageError(f"{url}: {key} wants {wanted}, got '{value}'") from error
    return SimulatedLine(int(values["seed"]), (int(values["width"]), int(values["height"])), values["objects"])
