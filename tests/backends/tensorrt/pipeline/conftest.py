"""Bundles, and what runs them."""

import pytest

from tests.backends.contract.backends import backend
from tests.backends.contract.conftest import engines, of_sam, tiny  # noqa: F401


@pytest.fixture
def on(tiny, engines, monkeypatch):  # noqa: F811
    """The tiny bundle on one of FAKES, opened in a `with`."""

    def open_on(name):
        return backend(name, tiny, engines / "tiny", monkeypatch)

    return open_on
