"""Images to try networks on: what a camera sees, as far as statistics go, unlike noise."""

from __future__ import annotations

import numpy as np

MEAN, SPREAD = 0.45, 0.22  # of a photograph's levels, in 0..1
OBJECTS = 12  # rectangles and discs of one colour each


def example_pictures(side_px: int, count: int = 2, seed: int = 0) -> np.ndarray:
    """Return images with the spectrum of photographs, 1/f, and objects with edges on it; the same at each call.

    Args:
        side_px: their side in pixels.
        count: number of images.
        seed: other images for another one.

    Returns:
        (count, 3, S, S) float32 RGB in 0..1, of 8-bit levels.
    """
    rng = np.random.default_rng(seed)
    return np.stack([_picture(side_px, rng) for _ in range(count)])


def _picture(side: int, rng: np.random.Generator) -> np.ndarray:
    # Colours vary less than light does.
    picture = np.stack([_clouds(side, rng)] * 3) + 0.3 * np.stack([_clouds(side, rng) for _ in range(3)])
    picture = MEAN + SPREAD * picture / picture.std()
    y, x = np.mgrid[:side, :side] / side
    for number in range(OBJECTS):
        (left, top), (width, height) = rng.uniform(0, 0.9, 2), rng.uniform(0.03, 0.4, 2)
        across, down = (x - left) / width, (y - top) / height  # 0..1 within the object
        inside = (abs(across - 0.5) < 0.5) & (abs(down - 0.5) < 0.5)
        if number % 2:
            inside = (across - 0.5) ** 2 + (down - 0.5) ** 2 < 0.25
        colour, shade = rng.uniform(0, 1, (3, 1)), rng.uniform(-0.2, 0.2)
        picture[:, inside] = colour + shade * across[inside]
    return np.asarray(np.rint(picture.clip(0, 1) * 255) / 255, np.float32)


def _clouds(side: int, rng: np.random.Generator) -> np.ndarray:
    """Return noise (S, S) whose amplitudes fall with frequency as a photograph's do, with mean 0 and deviation 1."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    frequency[0, 0] = np.inf  # no mean
    clouds = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(side, side))) / frequency, (side, side))
    return np.asarray(clouds / max(float(clouds.std()), 1e-9))
