"""Prompts as they are typed on a command line, and refused in words of its flags."""

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


class Typed:
    """What was asked for by --box, --point, --background and --mask-from, read but not yet held against a picture."""

    def __init__(
        self, boxes: Sequence[str], points: Sequence[str], background: Sequence[str], mask_from: Path | None
    ) -> None:
        """Each box is an object of its own; all points together are one, or belong to the one box.

        Raises UsageError that names the flag.
        """
        typed = [("--box", text) for text in boxes]
        typed += [("--point", text) for text in points] + [("--background", text) for text in background]
        self._typed = [(flag, text, _numbers(flag, text)) for flag, text in typed]
        self._boxes = [numbers for flag, _, numbers in self._typed if flag == "--box"] or None
        spots = [(flag, numbers) for flag, _, numbers in self._typed if flag != "--box"]
        if len(boxes) > 1 and spots:
            raise UsageError(
                f"--point, --background: {len(boxes)} times --box leave open whose they are; "
                "give one --box with them, or run once an object"
            )
        self._points = [[xy for _, xy in spots]] if spots else None
        self._labels = [[FOREGROUND if flag == "--point" else BACKGROUND for flag, _ in spots]] if spots else None
        self._flag = f"--mask-from {mask_from}"
        self.earlier: SavedMasks | None = None
        if mask_from is not None:
            try:
                self.earlier = SavedMasks.read(mask_from)
            except UsageError as error:
                raise UsageError(f"--mask-from {error}") from error
        if not self._typed and self.earlier is None:
            raise UsageError(
                "nothing to cut out: wanted --box LEFT,TOP,RIGHT,BOTTOM, --point X,Y or --mask-from FILE.npz"
            )

    def prompts(self, image: np.ndarray) -> Prompts:
        """On this picture, (H, W, 3) uint8; raises UsageError for what lies outside it and for masks of another."""
        height, width = image.shape[:2]
        for flag, text, numbers in self._typed:
            if min(numbers) < 0 or max(numbers[0::2]) > width or max(numbers[1::2]) > height:
                raise UsageError(f"{flag} {text}: outside the picture, which is {width} x {height} pixels")
        if self.earlier is None:
            return Prompts.of(self._boxes, self._points, self._labels)
        if self.earlier.size_hw.tolist() != [height, width]:
            of_height, of_width = self.earlier.size_hw.tolist()
            raise UsageError(
                f"{self._flag}: of a picture of {of_width} x {of_height} pixels, this one has {width} x {height}"
            )
        if self.earlier.picture != image_sha256(image):
            raise UsageError(
                f"{self._flag}: of another picture of this size; "
                "give the picture that it was written for, or begin anew without --mask-from"
            )
        logits = self.earlier.best()
        if not self._typed:
            there = [row[row[:, 2] != ABSENT] for row in self.earlier.prompts]
            return Prompts.of(None, [row[:, :2] for row in there], [row[:, 2] for row in there], logits)
        asked = len(self._boxes or "1")
        if len(logits) != asked:
            raise UsageError(
                f"{self._flag}: holds the masks of {plural(len(logits), 'object')}, asked for {asked}; "
                "give as many prompts, in the same order, or none to use those in the file"
            )
        return Prompts.of(self._boxes, self._points, self._labels, logits)

    def check_bundle(self, bundle: Bundle) -> None:
        """Raise UsageError where the earlier masks are those of another decoder than this bundle's, or of its grid."""
        if self.earlier is None:
            return
        same = self.earlier.decoder == bundle.networks["decoder"].sha256
        if not same or self.earlier.logits.shape[-1] != bundle.encoder_px // 4:
            raise UsageError(
                f"{self._flag}: written with the decoder of bundle {self.earlier.bundle!r}, wanted that of bundle "
                f"{bundle.name!r}; give --bundle with the former, or begin anew without --mask-from"
            )


def _numbers(flag: str, text: str) -> list[float]:
    form = "LEFT,TOP,RIGHT,BOTTOM" if flag == "--box" else "X,Y"
    count = form.count(",") + 1
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"{flag} {text}: wanted {form}, {count} numbers in pixels with commas between") from None
    if len(numbers) != count:
        raise UsageError(f"{flag} {text}: wanted {form}, {count} numbers, got {len(numbers)}")
    if not all(map(math.isfinite, numbers)):
        raise UsageError(f"{flag} {text}: wanted {form} in pixels of the picture, got a number without an end")
    if count == 4 and (numbers[2] < numbers[0] or numbers[3] < numbers[1]):
        raise UsageError(f"{flag} {text}: wanted {form} with LEFT <= RIGHT and TOP <= BOTTOM")
    return numbers
