"""What runs engines: stand-ins, and under the mark gpu what is there."""

import pytest

from tests.fakes.tensorrt_platforms import FAKES, PLATFORMS, open_platform


@pytest.fixture(params=PLATFORMS)
def platform(request, monkeypatch):
    with open_platform(request.param, monkeypatch) as platform:
        yield platform


@pytest.fixture(params=FAKES)
def fake(request, monkeypatch):
    with open_platform(request.param, monkeypatch) as fake:
        yield fake
