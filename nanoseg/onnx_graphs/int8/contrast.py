"""Whether images can calibrate anything: ranges that were found on black or equal images are worthless."""

from __future__ import annotations

import hashlib

import numpy as np

from nanoseg.errors import SourceError

MIN_CONTRAST = 3.0  # levels of 255, the standard deviation within an image; photographs have 30 to 80


class ContrastMeter:
    """The contrast of images, which are seen once and not kept, and how many of them differ."""

    def __init__(self) -> None:
        self._contrasts: list[float] = []
        self._digests: set[bytes] = set()

    def add(self, image: np.ndarray) -> None:
        """Add an image, (H, W, 3) uint8."""
        self._contrasts.append(float(image.std((0, 1)).max()))
        self._digests.add(hashlib.sha256(repr(image.shape).encode() + image.tobytes()).digest())

    def check(self, source: str) -> str:
        """Return a remark about the images, or an empty string.

        Args:
            source: their folder, for messages.

        Raises:
            SourceError: none has any contrast, or they are all the same.
        """
        count, best = len(self._contrasts), max(self._contrasts, default=0.0)
        advice = "give images of what the detector is to see"
        if best < MIN_CONTRAST:
            raise SourceError(
                f"{source}: wanted images to calibrate on, got {count} without contrast: within an image levels have a "
                f"standard deviation of {best:.1f} of 255 at most (wanted {MIN_CONTRAST:g}); {advice}"
            )
        if count > 1 and len(self._digests) == 1:
            raise SourceError(
                f"{source}: wanted different images to calibrate on, got one image {count} times; {advice}"
            )
        flat = sum(contrast < MIN_CONTRAST for contrast in self._contrasts)
        if 2 * flat > count:
            return f"{source}: {flat} of {count} images have no contrast"
        return f"{source}: {len(self._digests)} of {count} images differ" if 2 * len(self._digests) < count else ""
