"""Answers without end, and what ends them: the camera is removed, the token is another one."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from nanoseg.service.http import streams
from nanoseg.service.http.token import TokenCheck
from tests.service.http.serving import SOURCES, TOKEN, Serving, until

PATHS = ("/stream.mjpg?source=belt", "/events?source=belt", "/events")


def removed(serving: Serving) -> None:
    """The camera is not configured any more."""
    serving.sources = SOURCES[1:]


def other_token(serving: Serving) -> None:
    """The token is revoked."""
    serving.token = serving.token.renewed("fedcba9876543210")


def no_change(serving: Serving) -> None:
    """The configuration is read again, with the same in it."""
    serving.token, serving.sources = serving.token.renewed(TOKEN), list(SOURCES)


@pytest.mark.parametrize(("change", "left"), [(removed, ["/events"]), (other_token, []), (no_change, [*PATHS])])
def test_answers_end_for_whom_they_are_no_more(change, left, monkeypatch):
    """No picture comes, so that nothing else would end them."""
    monkeypatch.setattr(streams, "LOOK_S", 0.05)
    with Serving(TOKEN) as serving, ExitStack() as stack:
        wires = {path: stack.enter_context(serving.wire()) for path in PATHS}
        for path, wire in wires.items():
            wire.send(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
        until(lambda: sum(serving.application.readers.values()) == len(PATHS))
        change(serving)
        for path in wires.keys() - {*left}:
            wires[path].read(1 << 20)  # to its end
        until(lambda: sum(serving.application.readers.values()) == len(left))
        for path in left:
            assert wires[path].line().startswith(b"HTTP/1.1 200 ")
        assert not serving.lines


def test_token_that_is_read_again_keeps_what_it_has_signed():
    check = TokenCheck(TOKEN)
    signed = check.sign("/events", "source=belt").split("?")
    assert check.renewed(TOKEN).accepts_signed(*signed)
    assert not check.renewed("fedcba9876543210").accepts_signed(*signed)
    assert not check.renewed(None).accepts_signed(*signed)
