"""How far two results agree, and which bundles are refused for it."""

from dataclasses import replace

import numpy as np
import pytest

from nanoseg.service.config import SwapConfig
from nanoseg.service.swap.agreement import SLOW_FRAMES, SOME_OBJECTS, Comparison, match
from tests.fakes.segmenter import detections

HW = (48, 64)
LEFT, RIGHT, LOW = (4, 4, 24, 24), (36, 4, 56, 24), (4, 28, 24, 44)
LIMITS = SwapConfig(frames=10, agreement=0.7, lowest_agreement=0.5, latency=1.5)
LABELS = tuple("abcdefgh")


def found(*objects, labels=("bolt", "nut", "gear")):
    """Return detections of (box, class id)."""
    return detections(HW, [box for box, _ in objects], [each for _, each in objects], labels=labels)


def compared(new, running, frames=10, limits=LIMITS, camera="belt"):
    comparison = Comparison(limits)
    for _ in range(frames):
        comparison.add(camera, new, running)
    return comparison


@pytest.mark.parametrize(
    ("new", "running", "agreement"),
    [
        ([(LEFT, 0), (RIGHT, 1)], [(LEFT, 0), (RIGHT, 1)], 1),
        ([(RIGHT, 1), (LEFT, 0)], [(LEFT, 0), (RIGHT, 1)], 1),  # in any order
        ([(LEFT, 0)], [(LEFT, 0), (RIGHT, 1)], 0.5),
        ([(LEFT, 0), (RIGHT, 1)], [(LEFT, 0)], 0.5),
        ([(LEFT, 1)], [(LEFT, 0)], 0),
        ([(LEFT, 0)], [(RIGHT, 0)], 0),
        ([(LEFT, 0), (LEFT, 1)], [(LEFT, 0)], 0.5),  # found twice
        ([], [(LEFT, 0)], 0),
        ([(LEFT, 0)], [], 0),
    ],
)
def test_comparison_agreement(new, running, agreement):
    comparison = compared(found(*new), found(*running), 1)
    assert comparison.figures() == {"frames": 1, "agreement": agreement}
    assert compared(found(*running), found(*new), 1).figures() == comparison.figures()


def test_comparison_agreement_is_the_iou_of_masks():
    # Of 20 columns 10 are common, of 30 in all.
    comparison = compared(found((LEFT, 0)), found(((14, 4, 34, 24), 0)), 1)
    assert comparison.figures()["agreement"] == pytest.approx(1 / 3, abs=0.03)


def test_match_takes_each_object_once_and_its_class_first():
    overlapping = (6, 4, 26, 24)
    pairs = list(match(found((LEFT, 1), (overlapping, 0)), found((LEFT, 0), (overlapping, 1))))
    assert {(pair.new, pair.running) for pair in pairs} == {(0, 1), (1, 0)}
    assert all(pair.same_class for pair in pairs)


def test_comparison_counts_no_frame_without_objects():
    """A bundle that sees nothing agrees on an empty belt."""
    comparison = compared(found(), found(), 1000)
    assert comparison.figures() == {"frames": 0}
    assert comparison.fault() == ""


@pytest.mark.parametrize(
    ("new", "running", "fault"),
    [
        ([(LEFT, 0)], [(LEFT, 0)], ""),
        (
            [],
            [(LEFT, 0), (RIGHT, 1)],
            "it found nothing in 10 frames in which the running bundle found 20",
        ),
        ([(LEFT, 0)], [], "it found 10 objects in 10 frames in which the running bundle saw none"),
        (
            [(LEFT, 0)],
            [(RIGHT, 0)],
            "its masks agree with the running bundle's by 0.00; wanted 0.7 (agreement)",
        ),
        (
            [(LEFT, 2)],
            [(LEFT, 0)],
            "its masks agree with the running bundle's by 0.00; wanted 0.7 (agreement); what was 'bolt' is 'gear' to "
            "it, 10 times",
        ),
    ],
)
def test_comparison_fault(new, running, fault):
    assert compared(found(*new), found(*running)).fault() == fault


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("confidences", lambda bad: replace(bad, confidence=np.float32([np.nan]))),
        ("boxes", lambda bad: replace(bad, xyxy=np.float32([[0, 0, np.inf, 9]]))),
        ("mask confidences", lambda bad: replace(bad, mask_confidence=np.float32([np.nan]))),
        ("masks", lambda bad: bad.masks.logits.fill(np.nan) or bad),
    ],
)
def test_comparison_fault_of_what_is_no_number(name, change):
    comparison = compared(change(found((LEFT, 0))), found((LEFT, 0)), 1)
    assert comparison.fault() == f"its {name} are not all finite numbers"


def test_comparison_is_refused_once_nothing_can_mend_it():
    """Of ten frames three that agree by nothing still may reach 0.7, four cannot."""
    bad, good = found((LEFT, 0)), found((RIGHT, 0))
    assert compared(bad, good, 3).fault() == ""
    assert compared(bad, good, 4).fault() != ""


def test_comparison_sees_one_class_of_many_that_is_wrong():
    """Seven of eight objects agree, which is more than the mean has to be."""
    columns = [(x, 4, x + 7, 24) for x in range(0, 64, 8)]
    running = found(*((box, index) for index, box in enumerate(columns)), labels=LABELS)
    new = found(*((box, index % 7) for index, box in enumerate(columns)), labels=LABELS)
    limits = SwapConfig(frames=SOME_OBJECTS, agreement=0.7, lowest_agreement=0.5)
    comparison = compared(new, running, SOME_OBJECTS, limits)
    assert comparison.figures()["agreement"] > 0.7
    assert comparison.figures()["lowest_agreement_of"] == "class h"
    assert comparison.fault() == (
        "its masks of class h agree with the running bundle's by 0.00; wanted 0.5 (lowest_agreement); what was 'h' is "
        "'a' to it, 20 times"
    )


def test_comparison_sees_one_camera_of_many_that_is_wrong():
    limits = SwapConfig(frames=100, agreement=0.7, lowest_agreement=0.5)
    comparison = Comparison(limits)
    for index in range(100):
        camera = f"camera{index % 4}"
        comparison.add(camera, found((RIGHT if camera == "camera3" else LEFT, 0)), found((LEFT, 0)))
    assert comparison.figures()["agreement"] == 0.75
    assert comparison.figures()["lowest_agreement_of"] == "camera camera3"
    assert "its masks of camera camera3 agree with the running bundle's by 0.00" in comparison.fault()


@pytest.mark.parametrize(
    ("ratios", "refused_after"),
    [
        ([1.4] * 20, None),
        ([1, 9, 1] * 7, None),  # some are late for another reason
        ([1, 9, 9] * 10, 17),  # more than ten of twenty, whatever follows
        ([9] * 20, SLOW_FRAMES),
    ],
)
def test_comparison_latency(ratios, refused_after):
    same = found((LEFT, 0))
    comparison = Comparison(SwapConfig(frames=20, latency=1.5))
    fault = ""
    for ratio in ratios[:20]:
        if not fault:
            comparison.add("belt", same, same)
            comparison.add_time(20.0 * ratio, 20.0)
            fault = comparison.fault()
    assert (comparison.frames if fault else None) == refused_after
    assert bool(fault) == ("times as long as the running bundle; wanted at most 1.5 (latency)" in fault)
