"""Which scenes a network is calibrated on, and which others it is then judged by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nanoseg.evaluation.scenes import ENDLESS, FRAMES_A_LINE, Scenes, SimulatedScenes

LINES = 100  # enough of light, belts and parts; each takes a tenth of a second to draw, a further frame little


@dataclass(frozen=True, eq=False)
class Split:
    """Indices of scenes to calibrate on and of scenes to be judged by; the two sources may be one."""

    learn: Scenes
    learn_on: Sequence[int]
    judge: Scenes
    judge_on: Sequence[int]  # none where nobody told what the pictures show
    shared: int  # scenes that are in both

    def told(self) -> str:
        """How it was done, for people."""
        if not self.judge_on:
            return "nobody told what the pictures show"
        if self.shared:
            return f"{self.shared} of them calibrated on, too: there were too few others"
        return "none of them calibrated on"


def split(scenes: Scenes, learn: int, judge: int) -> Split:
    """At most `learn` scenes to calibrate on, spread over all, and at most `judge` of the others.

    The simulated line is judged by lines of its own, which are neither training's nor the demo's. Of a data set the
    scenes left over serve, unless they are fewer than those calibrated on: then all do, and `shared` tells.
    """
    learn_on = spread(scenes, learn)
    if isinstance(scenes, SimulatedScenes):
        apart = SimulatedScenes(validation=True)
        return Split(scenes, learn_on, apart, spread(apart, judge), 0)
    if not scenes.labels:
        return Split(scenes, learn_on, scenes, (), 0)
    taken = set(learn_on)
    others = [index for index in range(len(scenes)) if index not in taken]
    if len(others) < len(taken):
        others = list(range(len(scenes)))
    judge_on = _evenly(others, judge)
    return Split(scenes, learn_on, scenes, judge_on, len(taken.intersection(judge_on)))


def spread(scenes: Scenes, count: int) -> list[int]:
    """Indices of at most `count` scenes, evenly over all of them: neighbours in a data set are often alike.

    Of the simulated line they are from LINES lines, or as many as there are scenes where those are fewer.
    """
    if len(scenes) < ENDLESS:
        return _evenly(range(len(scenes)), count)
    frames = min(FRAMES_A_LINE, -(-count // LINES))
    places = (divmod(i, frames) for i in range(count))
    return [SimulatedScenes.index_of(line, frame * FRAMES_A_LINE // frames) for line, frame in places]


def _evenly(indices: Sequence[int], count: int) -> list[int]:
    count = min(count, len(indices))
    return [indices[i * len(indices) // count] for i in range(count)]
