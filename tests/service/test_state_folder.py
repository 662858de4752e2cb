"""What the service keeps between two starts."""

import pytest

from nanoseg.service.config import ModelConfig
from nanoseg.service.state_folder import Start, StateFolder


@pytest.fixture
def restart(tmp_path, monkeypatch):
    """Return what starts the service once more, and gives its state."""
    monkeypatch.setenv("STATE_DIRECTORY", f"{tmp_path}:/elsewhere")

    def start():
        state = StateFolder()
        state.started()
        return state

    return start


def test_state_of_the_first_start(restart):
    state = restart()
    assert state.start("parts") == Start("parts")
    assert [restart().started() for _ in range(2)] == [3, 5]


@pytest.mark.parametrize(
    ("swaps", "configured", "start"),
    [
        ([("new", "parts", True), ("new", "parts", False)], "parts", ("new", "parts", "")),
        ([("new", "parts", False)], "other", ("other", "", "")),  # the configuration was changed
        ([("new", "parts", False), ("parts", "new", False)], "parts", ("parts", "new", "")),  # undone
        ([("new", "parts", True)], "parts", ("parts", "", "new")),  # the process died while it was watched
        ([("new", "parts", True)], "other", ("other", "", "")),
        ([("b", "a", False), ("c", "b", True)], "parts", ("b", "", "c")),
        ([("parts", "b", True)], "parts", ("b", "", "parts")),
    ],
)
def test_state_bundle_of_the_next_start(restart, swaps, configured, start):
    state = restart()
    for running, before, watched in swaps:
        state.swapped("parts", running, before, watched=watched)
    assert StateFolder().start(configured) == Start(*start)


def test_state_keeps_what_a_bundle_is_asked_for_that_is_not_configured(restart):
    model = ModelConfig("parts", confidence=0.4, classes=["gear"])
    restart().swapped("night", "parts", "old", watched=False, models={"parts": model})
    assert restart().start("night") == Start("parts", "old", models={"parts": model})
    restart().swapped("night", "night", "parts", watched=True, models={"parts": model})
    assert StateFolder().start("night") == Start("parts", failed="night", models={"parts": model})
    assert restart().start("night") == Start("parts", models={"parts": model})


def test_state_a_bundle_that_ended_the_service_is_told_once(restart):
    restart().swapped("parts", "new", "parts", watched=True)
    assert restart().start("parts") == Start("parts")  # as it stands once the start is counted
    assert StateFolder().start("parts") == Start("parts")


@pytest.mark.parametrize("content", ["", "{", '{"starts": "many"}', "[]", "\x00"])
def test_state_that_is_damaged_counts_as_none(restart, tmp_path, content):
    (tmp_path / "service.json").write_text(content)
    assert restart().start("parts") == Start("parts")


def test_state_without_a_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.chdir(tmp_path)
    state = StateFolder()
    assert (state.started(), state.started()) == (1, 2)
    state.swapped("parts", "new", "parts", watched=False)
    assert list(tmp_path.iterdir()) == []
