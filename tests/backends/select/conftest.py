"""A machine of the test's own, and the tiny bundle on a made-up GPU."""

import pytest

from tests.backends.contract.backends import backend
from tests.backends.contract.conftest import engines, tiny  # noqa: F401
from tests.backends.select.machine import DESKTOP, Machine


@pytest.fixture
def on(tiny, engines, monkeypatch):  # noqa: F811
    """The tiny bundle on one of FAKES, opened in a `with`."""
    return lambda name=DESKTOP: backend(name, tiny, engines / "tiny", monkeypatch)


@pytest.fixture
def machine(tiny, tmp_path, monkeypatch):  # noqa: F811
    made = Machine(tiny, tmp_path / "engines", monkeypatch)
    yield made
    made.cuda.check()
