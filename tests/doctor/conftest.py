"""The embedded bundle, opened once."""

import pytest

from nanoseg.doctor import facts
from tests.doctor.printed import OPENED


@pytest.fixture(autouse=True)
def opened_once(monkeypatch):
    """The embedded bundle's files are held against their sha256 once, not once a test."""
    monkeypatch.setattr(facts, "open_bundle", OPENED)
