"""A store of the test's own, and the embedded bundle, read once."""

from dataclasses import replace

import pytest

from nanoseg.bundle import open_bundle
from nanoseg.commands.build import command as module


@pytest.fixture
def engines(tmp_path):
    return tmp_path / "engines"


@pytest.fixture(scope="session")
def bundle():
    return open_bundle("parts")


@pytest.fixture(autouse=True)
def read_once(bundle, monkeypatch):
    """Tens of megabytes need not be verified for each test."""
    found = {"parts": lambda: bundle}
    monkeypatch.setattr(module, "open_bundle", lambda name: found.get(name, lambda: open_bundle(name))())


@pytest.fixture
def int8_bundle(bundle, monkeypatch):
    """The embedded bundle, its detector in INT8 and the rest float32."""
    precisions = dict.fromkeys(bundle.graphs, "fp32") | {"detect": "int8"}
    graphs = {name: replace(graph, precision=precisions[name]) for name, graph in bundle.graphs.items()}
    made = replace(bundle, graphs=graphs)
    monkeypatch.setattr(module, "open_bundle", lambda _: made)
    return made
