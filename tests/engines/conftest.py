"""An engine store of a test's own."""

import pytest

from nanoseg.engines import EngineStore
from tests.helpers.engine_records import ORIN, PLAN, make_bundle, record


@pytest.fixture(autouse=True)
def nowhere_else(monkeypatch, tmp_path):
    """No test reads or writes what this machine has."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("NANOSEG_ENGINES", raising=False)


@pytest.fixture
def bundle():
    return make_bundle()


@pytest.fixture
def store(tmp_path):
    return EngineStore(tmp_path / "engines")


@pytest.fixture
def built(store, bundle):
    """Detect for ORIN; the path of its engine."""
    return store.put(bundle, ORIN, "detect", PLAN, record())
