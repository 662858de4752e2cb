"""Every way that the swap of a bundle goes, on a clock and segmenters that the test plays."""

import re
import threading

import pytest

from nanoseg.errors import UsageError
from nanoseg.service.swap import trial
from tests.service.swap.swapping import fails, nothing, one_bolt, slower


def test_swap_from_start_to_end(a_line):
    line = a_line()
    line.turn()
    number = line.swapper.start("new")
    line.until("watching")
    state = line.swapper.state
    assert (number, state.number, state.bundle, state.reason) == (1, 1, "new", "")
    figures = {"memory_mb", "frames", "frames_wanted", "agreement", "latency", "latency_ms"}
    assert state.figures.keys() == figures
    assert (state.figures["frames"], state.figures["agreement"], state.figures["latency"]) == (5, 1.0, 1.0)
    assert state.document().keys() == {"number", "state", "bundle", "reason", *figures}
    assert line.host.open() == ["old", "new"]  # to be put back at once
    line.now_s += 61
    line.until("swapped")
    assert line.host.open() == ["new"]
    assert line.host.kept == [("new", "old", True), ("new", "old", False)]
    assert line.host.swaps == ["new"]
    assert line.swapper.outcomes["swapped"] == 1
    assert line.host.lines[0].startswith("bundle new: watching (memory_mb 1, frames 5")


def test_swap_loses_no_frame(a_line):
    """Each frame is finished by one bundle or the other, in order."""
    line = a_line().swapped()
    assert [index for index, _ in line.results] == list(range(line.index))
    names = [name for _, name in line.results]
    assert names == sorted(names, reverse=True)
    assert set(names) == {"old", "new"}


@pytest.mark.parametrize(
    ("find", "reason"),
    [
        (nothing, "it found nothing in 2 frames in which the running bundle found 2"),
        (slower(4), r"it takes \d\.\d\d times as long as the running bundle; wanted at most 1\.5 \(latency\)"),
        (fails, "the engine is broken"),
        (lambda frame: 1 / 0, "ZeroDivisionError: division by zero"),
    ],
)
def test_swap_refuses(a_line, find, reason):
    line = a_line()
    line.host.bundles["new"] = find
    line.swapper.start("new")
    line.until("refused")
    assert re.fullmatch(reason, line.swapper.state.reason)
    assert line.host.open() == ["old"]
    assert line.host.kept == line.host.swaps == []
    assert line.swapper.outcomes["refused"] == 1
    assert line.swapper.state.reason in line.host.lines[-1]
    line.swapped("old")  # the next one is tried as ever


def test_swap_refuses_what_is_no_bundle(a_line):
    line = a_line()
    line.swapper.start("other")
    line.until("refused")
    assert line.swapper.state.reason == "other: no such bundle"
    assert line.host.open() == ["old"]


def test_swap_refuses_a_bundle_without_the_configured_classes(a_line):
    """Also where the configuration was read again after it had been loaded."""
    line = a_line()
    line.swapper.start("new")
    line.until("shadow")
    line.host.unfit.add("new")
    line.until("refused")
    assert line.swapper.state.reason == "model.classes: no such class"
    assert line.host.open() == ["old"]


def test_swap_refuses_in_the_loop_what_does_not_fit_any_more(a_line):
    line = a_line()
    line.swapper.start("new")
    _until_ready(line)
    line.host.unfit.add("new")
    line.until("refused")
    assert line.host.swaps == []
    assert line.segmenter.bundle.name == "old"
    line.wait_for(lambda: line.host.open() == ["old"])


@pytest.mark.parametrize(
    ("memory", "reason"),
    [
        ([5000], "it takes 5000 MB; wanted at most 1024 (memory_mb)"),  # as it is estimated, before it is loaded
        ([1, 300, 1400], "it takes 1100 MB; wanted at most 1024 (memory_mb)"),  # loaded
        ([1, 300, 400, 1500], "it takes 1200 MB; wanted at most 1024 (memory_mb)"),  # after its frames
    ],
)
def test_swap_refuses_what_takes_too_much_memory(a_line, monkeypatch, memory, reason):
    line = a_line()
    line.host.estimates_mb["new"], *measured = memory
    monkeypatch.setattr(trial, "settled_mb", lambda: measured.pop(0))
    line.swapper.start("new")
    line.until("refused")
    assert line.swapper.state.reason == reason
    assert line.swapper.state.figures["memory_mb"] == int(reason.split()[2])
    assert [name for name, _ in line.host.opened] == ["old"] + ["new"] * (len(memory) > 1)
    assert line.host.open() == ["old"]


@pytest.mark.parametrize("find", [one_bolt, nothing])
def test_swap_refuses_what_no_object_was_seen_with(a_line, find):
    """On an empty belt a bundle that sees nothing agrees: it takes objects to pass, however long that is."""
    line = a_line(find=nothing)
    line.host.bundles["new"] = nothing
    line.swapper.start("new")
    line.until("shadow")
    for _ in range(20):
        line.turn()
    line.now_s += trial.TRIAL_S + 1
    line.until("refused")
    assert line.swapper.state.reason == "only 0 of 5 frames with objects came within 600 s"


def test_swap_compares_no_frame_with_shed_work(a_line):
    line = a_line()
    line.swapper.start("new")
    line.wait_for(lambda: line.state == "shadow")
    for _ in range(20):
        line.turn(shed=("carried_boxes",))
    line.now_s += trial.TRIAL_S + 1
    line.until("refused", turning=False)
    assert "more had work left out for model.deadline_ms, and tell nothing" in line.swapper.state.reason


def test_swap_where_the_running_bundle_fails_meanwhile(a_line):
    line = a_line()
    line.swapper.start("new")
    line.until("shadow")
    line.segmenter.find = fails
    for _ in range(20):
        line.turn()
    assert line.state == "shadow"
    assert line.segmenter.bundle.name == "old"
    line.now_s += trial.TRIAL_S + 1
    line.until("refused")


def test_swap_sees_all_cameras(a_line):
    """A trial that sees every second frame would else see one of two cameras."""
    line = a_line(frames=12)
    line.cameras = ["left", "right"]
    line.swapped()
    new = next(segmenter for name, segmenter in line.host.opened if name == "new")
    tried = [frame.name for frame in new.frames[: 12 + trial.WARM_FRAMES]]
    assert abs(tried.count("left") - tried.count("right")) <= 1


def test_swap_tries_one_bundle_at_a_time(a_line):
    line = a_line()
    line.swapper.start("new")
    with pytest.raises(UsageError, match="new is tried already; wait until that has ended, or undo it"):
        line.swapper.start("other")
    line.until("watching")
    line.now_s += 20
    with pytest.raises(UsageError, match="new is new, and watched for another 40 s; wait, or undo it"):
        line.swapper.start("other")


def test_swap_is_reverted_where_the_new_bundle_fails(a_line):
    line = a_line()
    line.swapper.start("new")
    line.until("watching")
    line.segmenter.find = fails
    line.turn()
    assert (line.segmenter.bundle.name, line.state) == ("old", "reverted")  # from the next frame on
    assert len(line.failures) == 1
    line.wait_for(lambda: line.host.open() == ["old"])
    line.wait_for(lambda: line.host.kept == [("new", "old", True), ("old", "", False)])
    assert line.swapper.state.reason == "the engine is broken"
    assert line.host.lines[-1] == (
        "bundle new fails soon after it was swapped in: the engine is broken; old runs again"
    )
    assert line.swapper.outcomes["reverted"] == 1
    with pytest.raises(UsageError, match="no bundle ran before this one"):
        line.swapper.undo()
    line.host.bundles["new"] = one_bolt
    line.swapped()


def test_swap_is_not_reverted_once_the_bundle_has_proved_itself(a_line):
    line = a_line().swapped()
    line.segmenter.find = fails
    line.turn()
    assert (line.segmenter.bundle.name, line.state) == ("new", "swapped")


def test_swap_is_not_reverted_to_what_does_not_fit_any_more(a_line):
    line = a_line()
    line.swapper.start("new")
    line.until("watching")
    line.host.unfit.add("old")
    line.segmenter.find = fails
    line.turn()
    assert line.segmenter.bundle.name == "new"
    assert "bundle new fails, and old cannot be put back: model.classes: no such class" in line.host.lines


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("state", ["shadow", "ready", "watching", "swapped"])
def test_swap_where_the_service_ends(a_line, state, told):
    """What the loop does not run is closed, and the thread has ended; a failure is one of a bundle that is watched."""
    line = a_line(find=nothing if state == "shadow" else one_bolt)
    line.swapper.start("new")
    if state == "ready":
        _until_ready(line)
    elif state == "swapped":
        line.until("watching")
        line.now_s += 1000
        line.until("swapped")
    else:
        line.until(state)
    line.swapper.end(told=told)
    line.swapper.close()
    assert line.host.open() == [line.segmenter.bundle.name]
    assert "nanoseg-swap" not in [thread.name for thread in threading.enumerate()]
    if state == "watching":
        assert line.host.kept[-1] == ("new", "old", not told)
    with pytest.raises(UsageError):
        line.swapper.start("new")


def _until_ready(line):
    """Turn the loop without a look at what it is to run."""
    take, line.swapper.take = line.swapper.take, lambda _: None
    line.until("ready")
    line.swapper.take = take
