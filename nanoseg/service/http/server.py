"""The HTTP server in its thread: uvicorn, with a time limit on the head of a request."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

from nanoseg.errors import UsageError, needs, os_reason
from nanoseg.service.config import HttpConfig
from nanoseg.service.http.streams import ABORT

with needs("uvicorn", "serve"):
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 10.0  # in which the head of a request has to be there
_SPARE = 64  # connections beside those of streams
_CLOSE_S = 1  # for requests that are under way at the end
_BACKLOG = 128


class TimedProtocol(H11Protocol):
    """HTTP/1.1 that closes a connection whose request is not there in time, which uvicorn leaves open for ever."""

    def connection_made(self, transport: Any) -> None:
        """Start the time of the first request."""
        super().connection_made(transport)
        self._head: asyncio.TimerHandle | None = self.loop.call_later(HEAD_S, self._late)
        application = self.app

        async def with_abort(scope: Any, receive: Any, send: Any) -> None:
            scope[ABORT] = transport.abort
            await application(scope, receive, send)

        self.app = with_abort

    def data_received(self, data: bytes) -> None:
        """Take bytes; those of a further request start its time."""
        if self._head is None and (self.cycle is None or self.cycle.response_complete):
            self._head = self.loop.call_later(HEAD_S, self._late)
        super().data_received(data)

    def handle_events(self) -> None:
        """Take what is complete."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self._end_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the time."""
        self._end_timer()
        super().connection_lost(exc)

    def _end_timer(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _late(self) -> None:
        self._head = None
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            self.transport.close()


def listen(http: HttpConfig) -> socket.socket:
    """Return a socket that listens on the host and port; raises UsageError, which names the key."""
    host = http.host.strip("[]")
    listener: socket.socket | None = None
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, http.port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        if listener is not None:
            listener.close()
        raise UsageError(f"http: cannot listen on {host} port {http.port}: {os_reason(error)}") from error
    return listener


class Server:
    """Run an application, and what belongs to it, in an asyncio loop of its own thread."""

    def __init__(
        self,
        application: Callable[..., Awaitable[None]],
        listener: socket.socket,
        max_streams: int,
        *,
        on_start: Callable[[asyncio.AbstractEventLoop], None],
        on_close: Callable[[], None],
        tasks: Callable[[], list[Coroutine[Any, Any, None]]] = list,
    ) -> None:
        """Describe the server; `start` runs it.

        Args:
            application: an ASGI application.
            listener: a socket that listens, closed at the end.
            max_streams: answers without end, for which connections are allowed.
            on_start: called in the loop before the first request.
            on_close: called in the loop at the end, before answers are waited for.
            tasks: returns what runs beside it; called in the loop, cancelled at the end.
        """
        self._listener, self._on_start, self._on_close, self._tasks = listener, on_start, on_close, tasks
        self._loop: asyncio.AbstractEventLoop | None = None
        logging.getLogger("uvicorn").setLevel(logging.CRITICAL)  # the application has told already
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        self._server = uvicorn.Server(
            uvicorn.Config(
                application,
                http=TimedProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=15,
                timeout_graceful_shutdown=_CLOSE_S,
                limit_concurrency=max_streams + _SPARE,
                h11_max_incomplete_event_size=16384,
            )
        )
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="nanoseg-http", daemon=True)

    def start(self) -> None:
        """Answer requests."""
        self._thread.start()

    def close(self) -> None:
        """End all answers and tasks, within a few seconds."""
        if self._loop is not None:
            with suppress(RuntimeError):  # it is closed
                self._loop.call_soon_threadsafe(self._on_close)
        self._server.should_exit = True
        self._thread.join(_CLOSE_S + 3)
        self._listener.close()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_start(self._loop)
        beside = [asyncio.ensure_future(task) for task in self._tasks()]
        try:
            await self._server.serve(sockets=[self._listener])
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
