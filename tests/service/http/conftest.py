"""Running servers: one without a token, one with, which the tests of a session share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.service.http.serving import TOKEN, Serving


@pytest.fixture(scope="session")
def open_serving() -> Iterator[Serving]:
    """A server without a token."""
    with Serving() as serving:
        yield serving


@pytest.fixture(scope="session")
def token_serving() -> Iterator[Serving]:
    """A server with a token."""
    with Serving(TOKEN) as serving:
        yield serving


@pytest.fixture
def served(open_serving) -> Iterator[Serving]:
    """The server without a token; a test has to expect each line that it tells."""
    open_serving.lines.clear()
    yield open_serving
    assert not open_serving.lines


@pytest.fixture
def guarded(token_serving) -> Iterator[Serving]:
    """The server with a token; a test has to expect each line that it tells."""
    token_serving.lines.clear()
    yield token_serving
    assert not token_serving.lines
