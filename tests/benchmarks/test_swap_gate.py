"""Bundles with faults and without, tried on a loop of the service by ONNX Runtime; the benchmark tries 20 of each."""

import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("starlette")

import swap_gate
from nanoseg.service.config import SwapConfig
from nanoseg.service.swap.state import SwapState
from swap_bundles import Copy, bad_copies, good_copies


def test_copies_are_of_five_kinds_each():
    assert [len({copy.kind for copy in bad_copies()}), len(bad_copies())] == [5, 20]
    assert [len({copy.change for copy in good_copies()}), len(good_copies())] == [5, 20]
    assert [copy.kind for copy in swap_gate.spread(bad_copies(), 5)] == sorted(
        {copy.kind for copy in bad_copies()}, key=[copy.kind for copy in bad_copies()].index
    )


@pytest.mark.parametrize(
    ("indices", "missed", "as_wanted"),
    [
        ([0, 1, 2, 3, 4, 5], 0, True),
        ([0, 2, 4, 6, 8, 10], 1, True),
        ([0, 2, 4, 7, 9, 11], 2, True),  # one more than usual
        ([0, 2, 4, 8, 10, 12], 3, False),
    ],
)
def test_outcome_counts_the_frames_missed_at_the_swap(indices, missed, as_wanted):
    results = [(index, "old" if place < 3 else "new") for place, index in enumerate(indices)]
    found = swap_gate.outcome(Copy("good", "", "", None), SwapState(1, "swapped", "new", "", {"frames": 2}), results)
    assert (found.missed_at_swap, found.as_wanted) == (missed, as_wanted)


@pytest.mark.slow
def test_gate_refuses_bad_bundles_and_swaps_good_ones(tmp_path, monkeypatch):
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    bad, good = swap_gate.spread(bad_copies(), 5), swap_gate.spread(good_copies(), 1)
    limits = SwapConfig(frames=6, memory_mb=swap_gate.MEMORY_MB)
    outcomes = swap_gate.measure(bad, good, limits, period_s=0.2, seed=1)
    assert [each.verdict for each in outcomes] == ["refused"] * 5 + ["swapped"]
