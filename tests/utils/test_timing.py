"""Stages and percentiles; no test says how long anything takes."""

from types import SimpleNamespace

import numpy as np
import pytest

from nanoseg.utils.timing import Latencies, Stopwatch, percentiles


def test_stages_add_up_within_the_total():
    watch = Stopwatch()
    for name in ("detect", "embed", "detect"):
        with watch.stage(name):
            pass
    latency_ms = watch.stop()
    assert list(latency_ms) == ["detect", "embed", "total"]
    assert 0 <= latency_ms["detect"] + latency_ms["embed"] <= latency_ms["total"]


def test_a_stage_that_fails_is_timed_and_fails():
    watch = Stopwatch()
    with pytest.raises(KeyError), watch.stage("detect"):
        raise KeyError
    assert "detect" in watch.latency_ms


def test_laps_follow_each_other_and_leave_out_what_was_before_resume(monkeypatch):
    clock = iter(1_000_000 * at_ms for at_ms in (0, 3, 10, 14, 15, 20))
    # The module's alone: threads of other tests read the clock, too.
    monkeypatch.setattr("nanoseg.utils.timing.time", SimpleNamespace(perf_counter_ns=lambda: next(clock)))
    watch = Stopwatch()
    watch.lap("prepare")  # 0 to 3
    watch.resume()  # 10
    watch.lap("detect")  # to 14
    watch.lap("prepare")  # to 15
    assert watch.stop() == {"prepare": 4, "detect": 4, "total": 20}


@pytest.mark.parametrize("values", [[3.0], [1.0, 2.0], list(range(100)), [5.0, 1.0, 9.0, 2.5]])
def test_percentiles_are_numpys(values):
    got = percentiles([float(value) for value in values])
    assert list(got) == ["p50", "p95", "p99"]
    np.testing.assert_allclose(list(got.values()), np.percentile(values, [50, 95, 99]), atol=5e-4)


def test_no_values_have_no_percentiles():
    assert percentiles([]) == {}
    assert Latencies().summary() == {}


def test_a_stage_counts_on_the_frames_on_which_it_ran():
    latencies = Latencies()
    latencies.add({"detect": 1.0, "segment": 7.0})
    latencies.add({"detect": 3.0})
    summary = latencies.summary()
    assert summary["detect"]["p50"] == 2.0
    assert summary["segment"]["p50"] == 7.0
