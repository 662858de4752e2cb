"""A server of a test's own, and no way around it."""

import pytest

from tests.fakes import file_server as a_server
from tests.weights.small_files import BODY


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def server():
    with a_server.serving(BODY) as running:
        yield running
