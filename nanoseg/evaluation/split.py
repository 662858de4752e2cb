"""Split scenes into those to calibrate a network on and those to evaluate it on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nanoseg.evaluation.scenes import Scenes
from nanoseg.evaluation.simulated_scenes import ENDLESS, FRAMES_PER_LINE, SimulatedScenes

MAX_LINES = 100  # enough lights, belts and parts; the first frame of each takes a tenth of a second to render


@dataclass(frozen=True, eq=False)
class Split:
    """Indices of scenes to calibrate on and to evaluate with; both may be of the same scenes."""

    calibration: Scenes
    calibration_indices: Sequence[int]
    evaluation: Scenes
    evaluation_indices: Sequence[int]  # empty where there is no ground truth
    shared: int  # number of scenes that are in both

    def describe(self) -> str:
        """Return how the scenes were split, for reports."""
        if not self.evaluation_indices:
            return "there is no ground truth for these images"
        if self.shared:
            return f"{self.shared} of them also calibrated on, as there were too few others"
        return "none of them calibrated on"


def split_scenes(scenes: Scenes, calibration_count: int, evaluation_count: int) -> Split:
    """Choose scenes to calibrate on, spread over all, and others to evaluate with.

    The simulated line is evaluated with lines of its own, which are neither training's nor the demo's. Of a data set
    the scenes left over serve, unless they are fewer than those calibrated on: then all do, and `shared` counts those
    that are in both.

    Args:
        scenes: the scenes to choose from.
        calibration_count: maximum number of scenes to calibrate on.
        evaluation_count: maximum number of scenes to evaluate with.
    """
    calibration = spread(scenes, calibration_count)
    if isinstance(scenes, SimulatedScenes):
        validation = SimulatedScenes(validation=True)
        return Split(scenes, calibration, validation, spread(validation, evaluation_count), 0)
    if not scenes.labels:
        return Split(scenes, calibration, scenes, (), 0)
    taken = set(calibration)
    others = [index for index in range(len(scenes)) if index not in taken]
    if len(others) < len(taken):
        others = list(range(len(scenes)))
    evaluation = _evenly(others, evaluation_count)
    return Split(scenes, calibration, scenes, evaluation, len(taken.intersection(evaluation)))


def spread(scenes: Scenes, count: int) -> list[int]:
    """Return indices of at most `count` scenes, evenly spread, as neighbours in a data set are often alike.

    Of the simulated line they are from MAX_LINES lines, or from as many as there are scenes where those are fewer.
    """
    if len(scenes) < ENDLESS:
        return _evenly(range(len(scenes)), count)
    frames = min(FRAMES_PER_LINE, -(-count // MAX_LINES))
    positions = (divmod(i, frames) for i in range(count))
    return [SimulatedScenes.index_of(line, frame * FRAMES_PER_LINE // frames) for line, frame in positions]


def _evenly(indices: Sequence[int], count: int) -> list[int]:
    count = min(count, len(indices))
    return [indices[i * len(indices) // count] for i in range(count)]
