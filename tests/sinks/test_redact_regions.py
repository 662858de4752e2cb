"""Regions that are remembered: how long, where, and which a new box continues."""

import numpy as np
import pytest

from nanoseg.sinks.redact_regions import ESTABLISHED, GROWTH_PER_S, SHORT_FRAMES, KnownRegions

STEP_S = 0.04
BOX = [100, 100, 150, 200]
NONE = np.zeros((0, 4))


class Frames:
    """Known regions that are given one frame after the other."""

    def __init__(self, hold_s=1.0):
        self.known, self.frame = KnownRegions(hold_s), 0

    def __call__(self, *boxes, sure=True):
        """Return the covered boxes of the next frame."""
        found = np.array(boxes, np.float64).reshape(-1, 4)
        covered = self.known.update(found, np.full(len(found), sure), self.frame * STEP_S)
        self.frame += 1
        return covered

    def missed_until_gone(self):
        """Return for how many frames without boxes something is still covered."""
        for frames in range(1000):
            if not len(self()):
                return frames
        raise AssertionError("never forgotten")


def holds(outer, inner):
    return (outer[:2] <= inner[:2]).all() and (outer[2:] >= inner[2:]).all()


@pytest.mark.parametrize(
    ("found", "sure", "missed"),
    [
        (1, True, SHORT_FRAMES),
        (ESTABLISHED - 1, True, SHORT_FRAMES),
        (ESTABLISHED, True, 25),
        (10, True, 25),
        (10, False, SHORT_FRAMES),
    ],
)
def test_region_is_held(found, sure, missed):
    frames = Frames(hold_s=25.5 * STEP_S)
    for _ in range(found):
        assert frames(BOX, sure=sure).tolist() == [BOX]
    assert frames.missed_until_gone() == missed


def test_region_is_forgotten_when_cleared():
    frames = Frames()
    for _ in range(5):
        frames(BOX)
    frames.known.clear()
    assert not len(frames())


@pytest.mark.parametrize("speed", [(6, 0), (-6, 0), (0, 4), (3, -5), (0, 0)])
def test_region_goes_on_as_its_object_did(speed):
    """An object that keeps its course, and grows as one that is coming in, stays inside."""
    step = np.array([*speed, *speed])
    frames, box = Frames(), np.array(BOX, float)
    for _ in range(8):
        frames(box)
        last, box = box, box + step
    for missed in range(1, 20):
        (covered,) = frames()
        assert holds(covered, last + missed * step)
        assert holds(covered, last)
        growth = GROWTH_PER_S * missed * STEP_S * 100
        slack = np.abs(
            covered - np.r_[np.minimum(last, last + missed * step)[:2], np.maximum(last, last + missed * step)[2:]]
        )
        assert slack == pytest.approx(np.full(4, growth))


def test_region_of_one_of_two_who_meet_is_held():
    """One box continues one region: the other stays."""
    frames = Frames()
    for at in range(20):
        frames([100 + 4 * at, 100, 150 + 4 * at, 200], [180 - at, 100, 230 - at, 200])
        if 100 + 4 * at + 20 >= 180 - at:
            break
    both = frames([168, 100, 218, 200])
    assert len(both) == 2
    assert len(frames([170, 100, 220, 200])) == 2


def test_boxes_of_one_object_are_one_region():
    frames = Frames()
    for _ in range(5):
        (united,) = frames([100, 100, 150, 200], [105, 90, 155, 195], [104, 104, 150, 199])
        assert united.tolist() == [100, 90, 155, 200]
    assert len(frames()) == 1
    assert len(frames([100, 100, 150, 200], [400, 100, 450, 200])) == 2


def test_no_boxes():
    frames = Frames()
    assert frames().shape == (0, 4)
    assert frames.missed_until_gone() == 0
