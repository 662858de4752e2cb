"""More connections than are allowed: who makes room for whom."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from nanoseg.service.http import server
from tests.service.http.serving import Serving, Wire, check_refusal, until
from tests.service.http.test_connections import GET, POST


@pytest.fixture
def crowded(monkeypatch):
    """A server for four connections, and a function that opens some: idle, or with a request under way."""
    monkeypatch.setattr(server, "_SPARE", 2)
    with Serving(max_streams=2) as serving, ExitStack() as stack:

        def connect(count: int, *, busy: bool, peer: str = "127.0.0.1") -> list[Wire]:
            wires = [stack.enter_context(serving.wire(peer=peer)) for _ in range(count)]
            for wire in wires:
                wire.send(GET)
                assert wire.answer().status == 200
                if busy:
                    wire.send(POST + b"Content-Length: 19\r\n\r\n")
            return wires

        serving.connect = connect
        yield serving


CROWDED = "more than 4 connections: the longest idle one is closed for each further one"


def test_idle_connections_make_room_for_others(crowded):
    """The longest idle one of the peer that has the most."""
    [first] = crowded.connect(1, busy=False)
    wires = crowded.connect(3, busy=False, peer="127.0.0.2")
    crowded.connect(2, busy=True, peer="127.0.0.3")
    assert [_is_closed(wire) for wire in (first, *wires)] == [False, True, True, False]
    assert crowded.lines == [CROWDED] * 2


def test_peer_with_most_connections_keeps_nobody_else_out(crowded):
    crowded.connect(4, busy=True, peer="127.0.0.2")
    until(lambda: all(not each._idle for each in crowded.server._server.server_state.connections))
    crowded.connect(1, busy=False)
    until(lambda: len(crowded.lines) == 2)
    assert crowded.lines == [CROWDED, "POST /sign: 400 the connection has ended within the body"]
    with crowded.wire(peer="127.0.0.2") as further:  # takes the place of the idle one, as all others are its own
        further.send(GET)
        assert further.answer().status == 200


def test_connections_beyond_the_limit(crowded):
    crowded.connect(4, busy=True)
    until(lambda: all(not each._idle for each in crowded.server._server.server_state.connections))
    with crowded.wire() as further:
        further.send(GET)
        check_refusal(further.answer(), 503, crowded)
        assert further.ended()
    with ExitStack() as stack:
        more = [stack.enter_context(crowded.wire()) for _ in range(9)]
        for wire in more[:-1]:
            assert wire.ended(), "half a request keeps no place"
        assert crowded.lines == [CROWDED] * 8


def _is_closed(wire: Wire) -> bool:
    try:
        wire.send(GET)
        wire.answer()
    except (ConnectionError, ValueError, OSError):
        return True
    return False
