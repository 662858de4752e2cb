"""The loop of live sources in simulated time: the age of frames under overload, shares, bounded memory."""

import pytest

from nanoseg.commands.live_loop import FINISHED, STARTED, LiveTally, process_live
from nanoseg.sinks.live import LiveSinks
from nanoseg.sources import cameras as cameras_module
from nanoseg.sources.camera_url import CameraUrl
from nanoseg.sources.cameras import Cameras
from tests.fakes.cameras import SimulatedCamera, SimulatedClock
from tests.fakes.segmenter import FakeSegmenter, nut_in_upper_left


class Recorder(LiveSinks):
    def __init__(self):
        super().__init__()
        self.results = []

    def write(self, result):
        self.results.append(result)


@pytest.fixture
def simulate(monkeypatch):
    """Run cameras of these periods on a pipeline that takes `work_ms` a frame; return tally, results and cameras."""

    def do(periods_ms, work_ms, frames, **options):
        clock = SimulatedClock()
        made = {
            f"cam{index}": SimulatedCamera(f"cam{index}", clock, period_ms, phase_ms=7.0 * index)
            for index, period_ms in enumerate(periods_ms)
        }
        monkeypatch.setattr(cameras_module, "Camera", lambda url, **_: made[url.name])

        def work(frame):
            clock.now_ms += work_ms
            return nut_in_upper_left(frame)

        class Waiting(Cameras):
            def _next(self):
                frame = super()._next()
                while frame is None:  # time passes only by work and by waiting
                    clock.now_ms = min(camera.next_ms() for camera in self.cameras)
                    frame = super()._next()
                return frame

        tally, sinks = LiveTally(), Recorder()
        urls = [CameraUrl("live", name, name) for name in made]
        with Waiting(urls, max_pixels=10_000) as cameras:
            process_live(FakeSegmenter(work), cameras, sinks, tally, limit=frames, now_ns=clock.now_ns, **options)
        return tally, sinks.results, made

    return do


@pytest.mark.parametrize("load", [0.5, 1.0, 2.0, 3.7, 20.0])
def test_age_at_the_end_stays_below_two_periods_and_the_work(simulate, load):
    period_ms, work_ms = 40.0, 40.0 * load
    tally, results, cameras = simulate([period_ms], work_ms, 500)
    oldest = max(result.found().age_ms for result in results)
    assert oldest <= 2 * period_ms + work_ms
    assert tally.ages[FINISHED].count == tally.ages[STARTED].count == tally.frames == 500
    assert tally.ages[FINISHED].maximum == pytest.approx(oldest)
    captured, dropped = cameras["cam0"].last + 1, cameras["cam0"].dropped
    assert captured == 500 + dropped  # each captured frame is a result or counted
    assert (dropped > 0) == (load > 1)


def test_two_sources_under_overload_get_equal_shares_whatever_their_rates(simulate):
    tally, results, _ = simulate([30.0, 50.0], 100.0, 400)
    assert abs(tally.by_source["cam0"] - tally.by_source["cam1"]) <= 400 * 0.1
    assert {result.frame.name for result in results} == {"cam0", "cam1"}


def test_a_slow_source_loses_nothing_beside_a_fast_one(simulate):
    tally, _, cameras = simulate([10.0, 500.0], 100.0, 400)
    assert cameras["cam1"].dropped == 0
    assert tally.by_source["cam1"] == cameras["cam1"].last + 1


def test_a_deadline_is_told_in_each_result_and_counted(simulate):
    tally, results, _ = simulate([40.0], 100.0, 20, deadline_ms=50.0)
    assert all("late" in result.found().shed for result in results)
    assert tally.shed["late"] == 20


def test_the_tally_of_a_run_without_end_does_not_grow(simulate):
    def size(tally):
        return len(tally.stages) + len(tally.ages) + len(tally.classes), len(tally.recent)

    few, many = simulate([40.0], 10.0, 1000)[0], simulate([40.0], 10.0, 3000)[0]
    assert (few.frames, many.frames) == (1000, 3000)
    assert size(few) == size(many)
    assert len(many.take_recent()) == 1000
    assert not many.take_recent()
