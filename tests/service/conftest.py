"""Fixtures of the tests of the service."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest


@pytest.fixture
def broker(tmp_path) -> Iterator:
    """A broker that anyone may use."""
    from tests.helpers.mosquitto import Mosquitto

    mosquitto = Mosquitto(tmp_path)
    mosquitto.start()
    yield mosquitto
    mosquitto.stop()


@pytest.fixture
def soon(monkeypatch) -> None:
    """Connect again at once."""
    monkeypatch.setattr("nanoseg.service.mqtt.publisher.WAIT_S", (0.02, 0.1))
    monkeypatch.setattr("nanoseg.service.mqtt.publisher.REFUSED_WAIT_S", (0.02, 0.1))


@pytest.fixture
def a_line() -> Iterator[Callable]:
    """Return what makes a Line, whose swapper is closed at the end."""
    from tests.service.swap.swapping import Line

    lines = []

    def make(**options) -> Line:
        lines.append(Line(**options))
        return lines[-1]

    yield make
    for line in lines:
        line.swapper.end(told=True)
        line.swapper.close()
