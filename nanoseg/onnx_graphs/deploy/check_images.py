"""Images to try networks on where the user gives none: the simulated line's, and some with natural statistics."""

from __future__ import annotations

from contextlib import suppress
from functools import cache

import numpy as np

from nanoseg.errors import DependencyError
from nanoseg.onnx_graphs.model.pictures import dead_leaves

MAX_IMAGES = 8  # of a user's folder
SIMULATED, NATURAL = 2, 3


def check_images(source: str | None) -> list[np.ndarray]:
    """Return a few different images, (H, W, 3) uint8 BGR: of a folder, pattern or parts://, or those built in.

    Raises:
        SourceError: there is no image, or one cannot be read.
    """
    if source is None:
        return list(built_in_images())
    from nanoseg.evaluation.open_scenes import open_scenes  # here and below, as images need OpenCV and graphs do not
    from nanoseg.evaluation.split import spread

    scenes = open_scenes(source)
    return [scenes[index].image for index in spread(scenes, MAX_IMAGES)]


@cache
def built_in_images() -> tuple[np.ndarray, ...]:
    """Return the same images each time: frames of the simulated line, where OpenCV is installed, then dead leaves."""
    frames: list[np.ndarray] = []
    with suppress(DependencyError):
        from nanoseg.sources.simulator.demo_lines import FRAMES_PER_LINE, DemoLines

        lines = DemoLines()
        frames = [lines.frame(number * FRAMES_PER_LINE).image for number in range(SIMULATED)]
    return (*frames, *(dead_leaves(seed) for seed in range(NATURAL)))
