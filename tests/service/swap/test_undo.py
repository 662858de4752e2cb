"""The bundle before put back, as it was asked for."""

import pytest

from nanoseg.errors import UsageError
from tests.service.swap.swapping import nothing


def test_undo_while_the_new_bundle_is_watched(a_line):
    """The one before is still open: it is put back at once."""
    line = a_line()
    line.swapper.start("new")
    line.until("watching")
    assert line.swapper.undo() == 2
    line.until("undone")
    assert line.segmenter.bundle.name == "old"
    assert [name for name, _ in line.host.opened] == ["old", "new"]
    line.wait_for(lambda: line.host.open() == ["old"])
    assert line.host.kept[-1] == ("old", "new", False)
    assert line.swapper.outcomes["undone"] == 1


def test_undo_later_and_again(a_line):
    """The bundle before is loaded again, and undo of undo brings the new one back."""
    line = a_line().swapped()
    for number, (name, other) in enumerate([("old", "new"), ("new", "old")], 2):
        assert line.swapper.undo() == number
        line.until("undone")
        assert line.segmenter.bundle.name == name
        line.wait_for(lambda name=name: line.host.open() == [name])
        line.wait_for(lambda name=name, other=other: line.host.kept[-1] == (name, other, False))


def test_undo_after_a_restart(a_line):
    line = a_line(before="new")
    line.swapper.undo()
    line.until("undone")
    assert line.segmenter.bundle.name == "new"


def test_undo_without_frames(a_line):
    """Cameras may be away."""
    line = a_line().swapped()
    line.swapper.undo()
    line.now_s += 6  # in which no frame comes to warm it
    line.until("ready", turning=False)
    line.until("undone")


def test_undo_calls_a_trial_off(a_line):
    line = a_line(find=nothing)
    line.swapper.start("new")
    line.until("shadow")
    assert line.swapper.undo() == 1
    line.until("cancelled")
    assert line.swapper.state.reason == "it was called off"
    assert line.host.open() == ["old"]
    assert line.swapper.outcomes["cancelled"] == 1


def test_undo_of_nothing(a_line):
    with pytest.raises(UsageError, match="no bundle ran before this one"):
        a_line().swapper.undo()


@pytest.mark.parametrize("is_there", [True, False])
def test_undo_where_the_folder_has_changed(a_line, is_there):
    """What lies there now was never tried."""
    line = a_line().swapped()
    line.host.versions["old"] = 2
    if not is_there:
        del line.host.bundles["old"]
    line.swapper.undo()
    line.until("refused")
    reason = (
        "its files are not those of the bundle that ran before; nanoseg service swap old tries what is there now"
        if is_there
        else "old: no such bundle"
    )
    assert line.swapper.state.reason == reason
    assert line.segmenter.bundle.name == "new"
    assert line.host.open() == ["new"]


def test_undo_while_watched_to_what_does_not_fit_any_more(a_line):
    line = a_line()
    line.swapper.start("new")
    line.until("watching")
    line.host.unfit.add("old")
    line.swapper.undo()
    line.until("refused")
    assert line.segmenter.bundle.name == "new"
    assert line.host.kept[-1] == ("new", "old", False)
    line.wait_for(lambda: line.host.open() == ["new"])
