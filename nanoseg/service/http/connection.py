"""A connection: HTTP/1.1 by uvicorn, with limits on how many there are, and on the time of a head and of a reader."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import h11

from nanoseg.errors import needs
from nanoseg.service.http.refusals import raw_response

with needs("uvicorn", "serve"):
    from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 10.0  # in which the head of a request has to be there
STALL_S = 15.0  # in which a reader takes some of what was sent, or is left
CONNECTION = "nanoseg.connection"  # in a request's scope: its Connection


class Connection(H11Protocol):
    """One connection; uvicorn by itself leaves those open for ever that send half a request, or do not read."""

    def __init__(self, *arguments: Any, most: int, told: Callable[[str], None], **options: Any) -> None:
        """Take uvicorn's arguments.

        Args:
            arguments: of uvicorn's protocol.
            most: connections; a further one takes the place of an idle one, or its requests are refused.
            told: takes a line about what is refused.
            options: of uvicorn's protocol.
        """
        super().__init__(*arguments, **options)
        self._most, self._told = most, told
        self._head: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None
        self._heard, self._heard_s = False, self.loop.time()
        self.endless = False  # the response has no end: what comes after its request is ignored
        application = self.app

        async def with_connection(scope: Any, receive: Any, send: Any) -> None:
            scope[CONNECTION] = self
            await application(scope, receive, send)

        self.app = with_connection

    @property
    def crowded(self) -> bool:
        """Whether there are more connections than are allowed."""
        return len(self._others()) >= self._most

    async def taken(self) -> None:
        """Wait until the reader has taken what was sent, all but what the system keeps for it."""
        await self.flow.drain()

    def connection_made(self, transport: Any) -> None:
        """Start the time of the first request."""
        super().connection_made(transport)
        self._make_room()
        transport.set_write_buffer_limits(0)  # so that `pause_writing` is called for whatever a reader has not taken
        self._head = self.loop.call_later(HEAD_S, self._late)

    def data_received(self, data: bytes) -> None:
        """Take bytes; those of a further request start its time."""
        self._heard, self._heard_s = True, self.loop.time()
        if self.endless and not self.cycle.more_body:
            return  # reading goes on, or it would not be seen that the reader leaves
        if self._head is None and (self.cycle is None or self.cycle.response_complete):
            self._head = self.loop.call_later(HEAD_S, self._late)
        super().data_received(data)

    def handle_events(self) -> None:
        """Take what is complete."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self._end_head()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request. Called by uvicorn where h11 raises."""
        status = getattr(sys.exc_info()[1], "error_status_hint", 400)
        if self.cycle is None or self.cycle.response_complete:
            self._refuse(status, "the request is too long" if status == 431 else "this is no HTTP request")
            return
        # The end of a request that is under way: its application learns that the connection has ended, and tells so.
        if not self.cycle.response_started:
            self.transport.write(raw_response(status, "the body is no HTTP body"))
        self.transport.close()

    def pause_writing(self) -> None:
        """Start the time in which the reader takes some of what was sent."""
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        """End the time: it has taken all."""
        super().resume_writing()
        self._end_stall()

    def connection_lost(self, exc: Exception | None) -> None:
        """End all times."""
        self._end_head()
        self._end_stall()
        super().connection_lost(exc)

    @property
    def _peer(self) -> str:
        return self.client[0] if self.client else ""

    @property
    def _idle(self) -> bool:
        """Whether no request is under way, and all that was sent is taken."""
        answered = self.cycle is None or self.cycle.response_complete
        return answered and not self.transport.get_write_buffer_size()

    def _others(self) -> list[Connection]:
        others = (each for each in self.connections if isinstance(each, Connection) and each is not self)
        return [each for each in others if not each.transport.is_closing()]

    def _make_room(self) -> None:
        """Close the longest idle one of the peer that has the most, so that nobody keeps others out for nothing.

        A peer with more than half of all loses one in use, too, where another peer comes.
        """
        others = self._others()
        if len(others) < self._most:
            return
        held = Counter(each._peer for each in others)
        greedy = {peer for peer, number in held.items() if 2 * number > self._most} - {self._peer}
        closable = [each for each in others if each._idle or each._peer in greedy]
        if closable:
            self._told(f"more than {self._most} connections: the longest idle one is closed for each further one")
            max(closable, key=lambda each: (held[each._peer], each._idle, -each._heard_s)).transport.abort()

    def _end_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _end_stall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _late(self) -> None:
        self._head = None
        if self._heard and self.conn.their_state is h11.IDLE:
            self._refuse(408, f"the request was not there within {HEAD_S:g} s")
        else:  # a browser that has connected in advance, or the rest of a body that was refused
            self.transport.close()

    def _watch_reader(self) -> None:
        waiting = self.transport.get_write_buffer_size()  # more is sent only once all of it was taken
        self._stall = self.loop.call_later(STALL_S, self._look_at_reader, waiting)

    def _look_at_reader(self, waiting: int) -> None:
        """Leave a reader that has taken nothing; one that is slow has longer."""
        if self.transport.get_write_buffer_size() < waiting:
            self._watch_reader()
            return
        self._told(f"a reader has not taken what was sent within {STALL_S:g} s and is left")
        self.transport.abort()

    def _refuse(self, status: int, line: str) -> None:
        if not self.transport.is_closing():
            self._told(f"no request: {status} {line}")
            self.transport.write(raw_response(status, line))
            self.transport.close()
