"""The embedded bundle, opened once."""

import pytest

from nanoseg.doctor import state
from tests.doctor.probe_output import OPENED


@pytest.fixture(autouse=True)
def opened_once(monkeypatch):
    """Verify the embedded bundle once, not in every test."""
    monkeypatch.setattr(state, "open_bundle", OPENED)
