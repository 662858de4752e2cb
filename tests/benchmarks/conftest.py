"""A bundle on a fake GPU, for the benchmarks' scripts."""

import pytest

from tests.backends.contract.backends import backend
from tests.backends.contract.conftest import engines, tiny  # noqa: F401


@pytest.fixture
def on(tiny, engines, monkeypatch):  # noqa: F811
    """Open the tiny bundle on a fake GPU by its name."""
    monkeypatch.setattr("gpu_stages.WARM_UP_S", 0)  # it needs no warm-up
    return lambda name: backend(name, tiny, engines / "tiny", monkeypatch)
