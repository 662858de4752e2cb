"""What a deadline sheds, in simulated time: order, return, and what may not be lost."""

import math
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

import nanoseg
from nanoseg.bundle import EMBEDDED_FOLDER
from nanoseg.deadline import Deadline, DeadlineSegmenter, Estimate, Plan, segment_carried
from nanoseg.errors import UsageError
from nanoseg.processing.geometry import Geometry
from nanoseg.sources.open import open_source
from nanoseg.tracking.segmenter import carrier
from nanoseg.types import Frame
from tests.fakes.segmenter import detections

BOXES = [(10 * i, 10, 10 * i + 8, 30) for i in range(8)]


def measured(detect=10.0, embed=5.0, prompt=1.0, alone=6.0, deadline=33.0):
    found = Deadline(deadline)
    found.costs.add({"detect": detect, "embed": embed, "segment": 8 * prompt}, 8, True)
    found.costs.add({"embed": alone, "segment": 8 * prompt}, 8, False)
    found.plan(0.0, carry=None)  # a fresh frame has no age
    return found


@pytest.mark.parametrize(
    ("age_ms", "carry", "plan"),
    [
        (0, 8, Plan(max_objects=18)),  # 33 - 15 ms are left for prompts of 1 ms
        (10, 8, Plan(max_objects=8)),
        (14, 8, Plan(max_objects=4)),
        (17, 8, Plan(max_objects=1)),
        (18, 8, Plan(detect=False, max_objects=8)),  # with detection not one prompt would fit
        (25, 8, Plan(detect=False, max_objects=2)),
        (18, 0, Plan(detect=False, max_objects=0)),  # nothing was there: an empty frame carries that on
        (27, 8, Plan(skip=True)),
        (18, None, Plan(skip=True)),  # detection is due, and a fresher frame would be in time
    ],
)
def test_work_is_shed_in_order(age_ms, carry, plan):
    assert measured().plan(age_ms, carry=carry) == plan


def test_nothing_is_shed_before_anything_was_measured():
    assert Deadline(1.0).plan(500.0, carry=None, limit=20) == Plan(max_objects=20)


@pytest.mark.parametrize("deadline_ms", [0.0, -1.0, math.nan, math.inf, 86_400_001.0])
def test_a_deadline_that_is_no_time_is_refused(deadline_ms):
    with pytest.raises(UsageError, match=r"^deadline: wanted milliseconds above 0, up to 86400000, got "):
        Deadline(deadline_ms)


@pytest.mark.parametrize("deadline_ms", [1e-3, 86_400_000.0])
def test_the_shortest_and_the_longest_deadline_plan_something(deadline_ms):
    plans = [measured(deadline=deadline_ms, prompt=1e-6).plan(age_ms, carry=3) for age_ms in (-50.0, 0.0, 1e4)]
    assert all(plan.skip or plan.max_objects >= 1 for plan in plans)


def test_a_deadline_that_no_frame_meets_skips_none():
    slow = measured(detect=100.0, alone=60.0)
    assert slow.plan(0.0, carry=None) == Plan(max_objects=1)
    assert slow.plan(0.0, carry=3) == Plan(detect=False, max_objects=1)


def test_frames_that_come_late_by_nature_are_not_skipped_for_ever():
    late = measured()
    plans = [late.plan(200.0, carry=None) for _ in range(400)]
    assert plans[0].skip
    assert not plans[-1].skip


def test_a_clock_that_is_set_back_skips_no_frame():
    late = measured()
    for _ in range(400):  # a camera whose frames come late by nature
        late.plan(200.0, carry=None)
    assert not late.plan(-300_000.0, carry=None).skip
    assert not late.plan(200.0, carry=None).skip


def test_detection_returns_with_hysteresis():
    flapping = measured()
    assert not flapping.plan(18, carry=1).detect
    assert not flapping.plan(15, carry=1).detect  # 16 ms would fit into 18, but barely
    assert flapping.plan(12, carry=1).detect
    assert flapping.plan(15, carry=1).detect


@pytest.mark.parametrize(
    ("measured_ms", "low", "high"),
    [([10.0], 10, 10), ([10.0] * 50, 10, 10), ([8.0, 12.0] * 50, 12, 15), ([10.0] * 50 + [40.0] * 50, 40, 45)],
)
def test_an_estimate_is_seldom_exceeded_and_follows(measured_ms, low, high):
    estimate = Estimate(measured_ms[0])
    for each in measured_ms[1:]:
        estimate.add(each)
    assert low - 0.01 <= estimate.ms <= high


def test_few_frames_are_late_where_times_vary(monkeypatch):
    random = np.random.default_rng(1)
    noise = SimpleNamespace(ms=lambda mean: float(mean * random.uniform(0.8, 1.2)))
    monkeypatch.setattr(Simulated, "spent", lambda self, mean: noise.ms(mean))
    counts = drive(40, 8, 400, period_ms=50.0)[1]
    assert counts["fewer_prompts"] > 300
    assert counts["late"] < 40  # by the means alone it would be half of them


class Simulated:
    """A segmenter in simulated time: 20 ms for detection, 5 for the encoder, 2 a prompt."""

    max_objects = None

    def __init__(self, objects):
        self.now_ms, self.objects = 0.0, objects

    def spent(self, mean_ms):
        return mean_ms

    def __call__(self, frame, max_objects=None):
        count = self.objects if max_objects is None else min(max_objects, self.objects)
        latency = {"prepare": 0.0, "detect": self.spent(20.0), "embed": 5.0, "segment": self.spent(2.0) * count}
        self.now_ms += sum(latency.values())
        return detections(frame.size_hw, BOXES[:count], [0] * count, latency_ms=latency)

    def embed(self, frame):
        self.now_ms += 5.0
        return SimpleNamespace(handle=None, geometry=Geometry.of(frame.size_hw, 64, 64, 64))

    @property
    def pipeline(self):
        return self

    def box_masks(self, handle, geometry, boxes, *, own, on_embedded):
        self.now_ms += 2.0 * len(boxes)
        return np.ones((len(boxes), 1, 16, 16), np.float32), np.ones((len(boxes), 1), np.float32)


def drive(deadline_ms, objects, frames, period_ms=30.0, sizes=((40, 100),)):
    """Feed the newest frame whenever the segmenter is free; return what was shed of each frame."""
    simulated = Simulated(objects)
    by_deadline = DeadlineSegmenter(simulated, carrier(simulated), deadline_ms, lambda: int(simulated.now_ms * 1e6))
    shed, index = [], -1
    while len(shed) < frames:
        newest = int(simulated.now_ms // period_ms)
        if newest == index:
            simulated.now_ms = (newest + 1) * period_ms
            continue
        index, size = newest, sizes[newest % len(sizes)]
        frame = Frame(np.zeros((*size, 3), np.uint8), index, captured_ns=int(index * period_ms * 1e6), name="cam")
        found, what = by_deadline(frame)
        assert (found is None) == ("skipped" in what)
        shed.append(what)
    assert by_deadline.shed.total() == sum(len(what) for what in shed)
    return shed, by_deadline.shed


def test_enough_time_sheds_nothing():
    assert drive(60, 2, 50)[1] == {}


def test_prompts_go_before_detection():
    shed, counts = drive(31, 8, 50, period_ms=50.0)
    assert counts.keys() <= {"fewer_prompts", "late"}
    assert counts["late"] == 1  # the first frame, before anything was measured
    assert shed[-1] == ("fewer_prompts",)


def test_detection_goes_every_second_time_and_no_frame_that_carries_is_late():
    shed, counts = drive(24, 4, 100, period_ms=30)
    assert counts["carried_boxes"] == 50
    for one, other in pairwise(shed):
        assert ("carried_boxes" in one) != ("carried_boxes" in other)
    assert all("late" not in what for what in shed if "carried_boxes" in what)


def test_boxes_are_not_carried_to_another_size():
    assert "carried_boxes" not in drive(24, 4, 40, sizes=((40, 100), (60, 100)))[1]


def test_carried_boxes_give_the_masks_that_a_call_gives():
    pytest.importorskip("onnxruntime")
    frame = next(iter(open_source("parts://?seed=5&size=320x240&objects=5")))
    with nanoseg.load(EMBEDDED_FOLDER / "parts") as segmenter:
        found = segmenter(frame)
        assert len(found) > 1
        carried = segment_carried(segmenter, frame, found)
        few = segment_carried(segmenter, frame, found, 1)
        none = segment_carried(segmenter, frame, found, 0)
    np.testing.assert_array_equal(carried.mask, found.mask)
    np.testing.assert_array_equal(carried.mask_confidence, found.mask_confidence)
    assert carried.class_name.tolist() == found.class_name.tolist()
    np.testing.assert_array_equal(few.mask, found.mask[:1])
    assert (len(few), len(none), none.mask.shape) == (1, 0, (0, 240, 320))
