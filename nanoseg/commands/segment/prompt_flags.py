"""The prompts of `nanoseg segment`, parsed from its flags; errors name the flag."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nanoseg.errors import UsageError
from nanoseg.processing.prompts import ABSENT, BACKGROUND, FOREGROUND, Prompts
from nanoseg.sinks.saved_masks import SavedMasks, image_sha256
from nanoseg.utils.terminal import plural

if TYPE_CHECKING:
    from nanoseg.bundle import Bundle


class PromptFlags:
    """--box, --point, --background and --mask-from, parsed but not yet checked against an image."""

    def __init__(
        self, boxes: Sequence[str], points: Sequence[str], background: Sequence[str], mask_from: Path | None
    ) -> None:
        """Parse the flags: each box is an object of its own; all points together are one, or belong to the one box.

        Raises:
            UsageError: A flag is malformed, there is no prompt, or the points could belong to several boxes.
        """
        flags = [("--box", text) for text in boxes]
        flags += [("--point", text) for text in points] + [("--background", text) for text in background]
        self._prompts = [(flag, text, _parse_numbers(flag, text)) for flag, text in flags]
        self._boxes = [numbers for flag, _, numbers in self._prompts if flag == "--box"] or None
        xy_flags = [(flag, numbers) for flag, _, numbers in self._prompts if flag != "--box"]
        if len(boxes) > 1 and xy_flags:
            raise UsageError(
                f"--point, --background: {len(boxes)} times --box leave open which box they belong to; "
                "give one --box with them, or run once an object"
            )
        self._points = [[xy for _, xy in xy_flags]] if xy_flags else None
        self._labels = [[FOREGROUND if flag == "--point" else BACKGROUND for flag, _ in xy_flags]] if xy_flags else None
        self._flag = f"--mask-from {mask_from}"
        self.earlier: SavedMasks | None = None
        if mask_from is not None:
            try:
                self.earlier = SavedMasks.read(mask_from)
            except UsageError as error:
                raise UsageError(f"--mask-from {error}") from error
        if not self._prompts and self.earlier is None:
            raise UsageError("no prompt: wanted --box LEFT,TOP,RIGHT,BOTTOM, --point X,Y or --mask-from FILE.npz")

    def prompts(self, image: np.ndarray) -> Prompts:
        """Return the prompts on an image.

        Args:
            image: (H, W, 3) uint8.

        Raises:
            UsageError: A prompt lies outside the image, or the earlier masks are those of another image.
        """
        height, width = image.shape[:2]
        for flag, text, numbers in self._prompts:
            if min(numbers) < 0 or max(numbers[0::2]) > width or max(numbers[1::2]) > height:
                raise UsageError(f"{flag} {text}: outside the image, which has {width} x {height} pixels")
        if self.earlier is None:
            return Prompts.of(self._boxes, self._points, self._labels)
        if self.earlier.size_hw.tolist() != [height, width]:
            of_height, of_width = self.earlier.size_hw.tolist()
            raise UsageError(
                f"{self._flag}: of an image of {of_width} x {of_height} pixels, this one has {width} x {height}"
            )
        if self.earlier.picture != image_sha256(image):
            raise UsageError(
                f"{self._flag}: of another image of this size; "
                "give the image that it was written for, or start without --mask-from"
            )
        logits = self.earlier.best()
        if not self._prompts:
            kept = [row[row[:, 2] != ABSENT] for row in self.earlier.prompts]
            return Prompts.of(None, [row[:, :2] for row in kept], [row[:, 2] for row in kept], logits)
        count = len(self._boxes or "1")
        if len(logits) != count:
            raise UsageError(
                f"{self._flag}: holds the masks of {plural(len(logits), 'object')}, the flags name {count}; "
                "give as many prompts, in the same order, or none to use those in the file"
            )
        return Prompts.of(self._boxes, self._points, self._labels, logits)

    def check_bundle(self, bundle: Bundle) -> None:
        """Raise UsageError where the earlier masks are those of a decoder or a size other than this bundle's."""
        if self.earlier is None:
            return
        same = self.earlier.decoder == bundle.networks["decoder"].sha256
        if not same or self.earlier.logits.shape[-1] != bundle.encoder_px // 4:
            raise UsageError(
                f"{self._flag}: written with the decoder of bundle {self.earlier.bundle!r}, wanted that of bundle "
                f"{bundle.name!r}; give --bundle with the former, or start without --mask-from"
            )


def _parse_numbers(flag: str, text: str) -> list[float]:
    syntax = "LEFT,TOP,RIGHT,BOTTOM" if flag == "--box" else "X,Y"
    count = syntax.count(",") + 1
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"{flag} {text}: wanted {syntax}, {count} numbers in pixels, separated by commas") from None
    if len(numbers) != count:
        raise UsageError(f"{flag} {text}: wanted {syntax}, {count} numbers, got {len(numbers)}")
    if not all(map(math.isfinite, numbers)):
        raise UsageError(f"{flag} {text}: wanted {syntax} in pixels of the image, got a number that is not finite")
    if count == 4 and (numbers[2] < numbers[0] or numbers[3] < numbers[1]):
        raise UsageError(f"{flag} {text}: wanted {syntax} with LEFT <= RIGHT and TOP <= BOTTOM")
    return numbers
