"""Figures of the last seconds."""

from dataclasses import replace

import pytest

from nanoseg.service.recent import WINDOW_S, Recent
from nanoseg.service.result import FrameResult
from tests.service.results import a_result


@pytest.mark.parametrize(
    ("ages_ms", "figures"),
    [
        ([], {}),
        ([40], {"p50": 40, "p99": 40}),
        ([10, 20], {"p50": 15, "p99": 19.9}),
        ([1] * 9 + [101], {"p50": 1, "p99": 92}),
    ],
)
def test_recent_ages_are_no_larger_than_any_was(ages_ms, figures):
    recent, result = Recent(), a_result()
    for age_ms in ages_ms:
        recent.add(FrameResult(result.frame, replace(result.objects, age_ms=age_ms), {}, (), redacted=False))
    assert recent.read() == {
        "fps": len(ages_ms) / WINDOW_S,
        "fps_by_source": {"belt": len(ages_ms) / WINDOW_S} if ages_ms else {},
        "stages_ms": {"prepare": 1, "detect": 2, "embed": 3, "segment": 4, "total": 10} if ages_ms else {},
        "age_ms": figures,
        "age_by_source": {"belt": figures["p50"]} if ages_ms else {},
    }
