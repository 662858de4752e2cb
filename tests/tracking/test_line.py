"""Tracking on the simulated line, against the identities of its truth."""

import pytest

import track_line

FRAMES = 60  # of each of two lines


@pytest.fixture(scope="module")
def figures():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(track_line, "LINES", 2)
        patch.setattr(track_line, "EVERY", (3,))
        return track_line.measure(FRAMES, (640, 480))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bytetrack", "oc-sort", "mcbyte"])
def test_identities_on_the_line_hold(figures, name):
    assert figures[name]["idf1"] >= 0.85  # few frames: that of benchmarks/track_line.py is above 0.9
    assert figures[name]["hota"] >= 0.8


@pytest.mark.slow
def test_detection_on_one_frame_of_three_costs_little(figures):
    every, some = figures["bytetrack"], figures["bytetrack every 3"]
    assert some["hota"] >= every["hota"] - 0.02
    assert some["idf1"] >= every["idf1"] - 0.02
    assert some["carried_ms"] > 0
