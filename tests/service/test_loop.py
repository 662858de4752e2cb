"""The loop of the service on cameras and segmenters that a test plays."""

import json
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from nanoseg.errors import EngineError
from nanoseg.service.config import RegionConfig
from nanoseg.service.loop import MAX_FAILURES, Hooks, ServiceLoop
from nanoseg.service.regions import Region
from nanoseg.types import Frame
from tests.fakes.segmenter import FakeSegmenter, detections


class Played:
    """A loop with everything around it: what happened is in `log`."""

    def __init__(self, frames, find, *, failed=lambda _: False, regions=()):
        self.log, self.results = [], []
        waiting = list(frames)

        def read(_):
            if not waiting:
                self.loop.stop()
                return None
            return waiting.pop(0)

        def segment(frame):
            self.log.append("engine")
            return find(frame)

        hooks = Hooks(
            alive=lambda: self.log.append("alive"),
            between=lambda: self.log.append("between"),
            told=lambda *told: self.log.append(told),
            segmented=lambda frame, found: self.log.append("segmented"),
            failed=failed,
        )
        subscriber = SimpleNamespace(put=self.results.append)
        observer = SimpleNamespace(
            finished=lambda result: self.log.append("finished"),
            not_finished=lambda source, outcome: self.log.append(f"{source} {outcome}"),
        )
        self.loop = ServiceLoop(
            FakeSegmenter(segment), SimpleNamespace(read=read), list(regions), [subscriber], observer, hooks
        )


def a_frame(index=0, name="belt"):
    return Frame(np.zeros((48, 64, 3), np.uint8), index, 1, name)


def a_find(frame):
    return detections(frame.size_hw, [(10, 10, 30, 30)], [0])


def fails(_):
    raise EngineError("out of memory")


def test_loop_passes_results_on_with_regions_of_their_camera():
    left = Region(RegionConfig("belt", "left", [(0, 0), (0.5, 0), (0.5, 1), (0, 1)]))
    other = Region(RegionConfig("yard", "left", [(0, 0), (0.5, 0), (0.5, 1), (0, 1)]))
    played = Played([a_frame(), None, a_frame(1, "yard"), a_frame(2, "dock")], a_find, regions=[left, other])
    played.loop.run()
    assert [(result.source, dict(result.regions)) for result in played.results] == [
        ("belt", {"left": {"bolt": 1}}),
        ("yard", {"left": {"bolt": 1}}),
        ("dock", {}),
    ]
    record = json.loads(played.results[0].record().json())
    assert (record["source"], record["regions"], record["redacted"]) == ("belt", {"left": {"bolt": 1}}, False)
    assert record["age_ms"] > 0
    assert "mask" not in json.loads(played.results[0].record(masks=False).json())["objects"][0]


def test_loop_gives_no_frame_an_age_below_0_where_the_clock_was_set_back():
    played = Played([replace(a_frame(), captured_ns=time.time_ns() + 10**12)], a_find)
    played.loop.run()
    assert json.loads(played.results[0].record().json())["age_ms"] == 0


def test_loop_is_alive_while_cameras_are_away_but_not_within_the_engine():
    """A hung engine stops the signs of life; a hung camera does not."""
    played = Played([None, None, a_frame()], a_find)
    played.loop.run()
    assert played.log == [
        *("between", "alive") * 3,
        *("engine", "segmented", "finished"),
        *("between", "alive"),
    ]


def test_loop_goes_on_after_a_frame_that_fails():
    outcomes = iter([a_find, fails, a_find])
    played = Played([a_frame(index) for index in range(3)], lambda frame: next(outcomes)(frame))
    played.loop.run()
    assert [result.frame.index for result in played.results] == [0, 2]
    assert "belt failed" in played.log
    assert ("belt", "belt: a frame failed: out of memory") in played.log


def test_loop_ends_where_only_a_new_process_may_help():
    played = Played([a_frame(index) for index in range(9)], fails)
    with pytest.raises(EngineError, match="5 frames in a row failed; the last: out of memory"):
        played.loop.run()
    assert played.log.count("engine") == MAX_FAILURES


def test_loop_goes_on_with_the_bundle_before_where_the_new_one_fails():
    before = FakeSegmenter(a_find)

    def put_back(_):
        played.loop.use(before, None, None)
        return True

    played = Played([a_frame(index) for index in range(4)], fails, failed=put_back)
    played.loop.run()
    assert [result.frame.index for result in played.results] == [1, 2, 3]


def test_loop_counts_frames_that_a_deadline_skips(monkeypatch):
    played = Played([a_frame(index) for index in range(3)], a_find)
    found = replace(a_find(a_frame()), latency_ms={})
    answers = iter([(found, ("fewer_prompts",)), (None, ("skipped",)), (found, ())])
    monkeypatch.setattr("nanoseg.service.loop.DeadlineSegmenter", lambda *_: lambda _: next(answers))
    played.loop.use(played.loop.segmenter, 33.0, None)
    played.loop.run()
    assert [result.found.shed for result in played.results] == [("fewer_prompts",), ()]
    assert "belt skipped" in played.log


def test_loop_shows_a_trial_no_frame_that_a_tracker_carried():
    carried = {"embed": 3.0, "segment": 4.0, "track": 1.0, "total": 8.0}
    latencies = iter([None, carried, carried, None])
    played = Played(
        [a_frame(index) for index in range(4)],
        lambda frame: detections(frame.size_hw, [(10, 10, 30, 30)], [0], latency_ms=next(latencies)),
    )
    played.loop.run()
    assert [each for each in played.log if each in ("segmented", "finished")] == [
        *("segmented", "finished", "finished", "finished"),
        *("segmented", "finished"),
    ]
