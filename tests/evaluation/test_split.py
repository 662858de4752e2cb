"""Which scenes calibrate a network, and which evaluate it."""

from types import SimpleNamespace

import numpy as np
import pytest

from nanoseg.evaluation.simulated_scenes import SimulatedScenes
from nanoseg.evaluation.split import split_scenes, spread
from nanoseg.sources.simulator.line import TEST_SEED


def test_split_test_lines_are_in_no_simulated_scenes():
    seeds = {SimulatedScenes(validation)._make_line(i).seed for validation in (False, True) for i in range(50)}
    assert len(seeds) == 100
    assert max(seeds) < TEST_SEED
    far = SimulatedScenes()._make_line(10 * TEST_SEED + 5)
    assert far.seed < TEST_SEED - 100_000


class Many:
    """A number of scenes that must not be loaded."""

    mirror_symmetric = False

    def __init__(self, count: int, labels: tuple[str, ...] = ("bolt",)) -> None:
        self.count, self.labels = count, labels

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int):
        raise AssertionError(index)


@pytest.mark.parametrize(
    ("count", "calibration", "evaluation", "calibrated", "evaluated", "shared"),
    [
        (1000, 64, 300, 64, 300, 0),
        (128, 64, 300, 64, 64, 0),
        (127, 64, 300, 64, 127, 64),  # 63 others are fewer than those calibrated on
        (38, 64, 300, 38, 38, 38),
        (38, 64, 10, 38, 10, 10),
        (1, 1, 1, 1, 1, 1),
    ],
)
def test_split_others_evaluate_where_there_are_enough(count, calibration, evaluation, calibrated, evaluated, shared):
    halves = split_scenes(Many(count), calibration, evaluation)
    both = set(halves.calibration_indices) & set(halves.evaluation_indices)
    assert len(set(halves.calibration_indices)) == calibrated
    assert (len(set(halves.evaluation_indices)), len(both)) == (evaluated, shared)
    assert halves.shared == shared
    assert set(halves.calibration_indices) | set(halves.evaluation_indices) <= set(range(count))
    assert ("too few others" in halves.describe()) == (shared > 0)


def test_split_without_ground_truth():
    halves = split_scenes(Many(100, ()), 10, 10)
    assert (len(halves.calibration_indices), len(halves.evaluation_indices)) == (10, 0)
    assert halves.describe() == "there is no ground truth for these images"


def test_split_spread_reaches_over_all():
    gaps = np.diff([*spread(Many(1003), 10), 1003])
    assert gaps.min() >= 100
    assert gaps.max() <= 101


def test_split_simulated_lines_for_evaluation_are_others():
    halves = split_scenes(SimulatedScenes(), 20, 30)
    assert (len(halves.calibration_indices), len(halves.evaluation_indices), halves.shared) == (20, 30, 0)
    assert (halves.calibration.validation, halves.evaluation.validation) == (False, True)


@pytest.mark.parametrize(("count", "lines"), [(1, 1), (64, 64), (100, 100), (101, 51), (300, 100), (2000, 125)])
def test_split_spread_over_simulated_lines(count, lines):
    sampled: list[tuple[int, int]] = []

    class Stub:
        def __init__(self, seed):
            self.seed = seed

        def sample(self, frame):
            sampled.append((self.seed, frame))
            return SimpleNamespace(image=None), SimpleNamespace(xyxy=None, class_id=None)

    class Counted(SimulatedScenes):
        def _make_line(self, seed):
            return Stub(seed)

    scenes = Counted()
    for index in spread(scenes, count):
        _ = scenes[index]
    assert len(set(sampled)) == count
    assert len({seed for seed, _ in sampled}) == lines
