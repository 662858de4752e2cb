"""The HTTP server in its thread: uvicorn, with a time limit on the head of a request."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

from nanoseg.errors import NanosegError, needs, one_line, os_reason
from nanoseg.service.config import HttpConfig
from nanoseg.service.http.connection import Connection
from nanoseg.service.http.loading import answer_loading

with needs("uvicorn", "serve"):
    import uvicorn

Asgi = Callable[..., Awaitable[None]]

_SPARE = 64  # connections beside those of streams
_CLOSE_S = 1  # for requests that are under way at the end
_BACKLOG = 128
# Of a connection, in the system: a slow reader of a stream gets pictures that are at most so much behind. Without it
# Linux lets megabytes wait.
_SEND_BUFFER_BYTES = 1 << 17
_PROBE_S = 30  # after which a silent reader is asked whether it is still there, and again that long after


_OPTIONS = (
    (socket.SOL_SOCKET, socket.SO_REUSEADDR, 1),
    (socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _PROBE_S),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _PROBE_S),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2),
)


def listen(http: HttpConfig) -> socket.socket:
    """Return a socket that listens on the host and port.

    Raises:
        NanosegError: it cannot; not one of usage, as an address may come, and a port be freed, later.
    """
    host = http.host.strip("[]")
    listener: socket.socket | None = None
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, http.port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind)
        for level, option, value in _OPTIONS:  # connections inherit them
            listener.setsockopt(level, option, value)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        if listener is not None:
            listener.close()
        raise NanosegError(f"http: cannot listen on {host} port {http.port}: {os_reason(error)}") from error
    return listener


class Server:
    """Answer requests in an asyncio loop of its own thread: by an application, and until there is one that it loads."""

    def __init__(self, listener: socket.socket, max_streams: int, told: Callable[[str], None]) -> None:
        """Describe the server; `start` runs it.

        Args:
            listener: a socket that listens, closed at the end.
            max_streams: answers without end, for which connections are allowed.
            told: takes a line about trouble.
        """
        self._listener, self._told = listener, told
        self._application: Asgi = answer_loading
        self._on_close: Callable[[], None] = lambda: None
        self._beside: list[asyncio.Future[None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running = threading.Event()  # the loop, or it has failed
        for logger in ("uvicorn", "uvicorn.error", "python_multipart"):  # the application has told already
            logging.getLogger(logger).setLevel(logging.CRITICAL)
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._answer,
                interface="asgi3",
                http=partial(Connection, most=max_streams + _SPARE, told=told),  # type: ignore[arg-type]
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=15,
                timeout_graceful_shutdown=_CLOSE_S,
                h11_max_incomplete_event_size=16384,
            )
        )
        self._thread = threading.Thread(target=self._serve, name="nanoseg-http", daemon=True)

    def start(self) -> None:
        """Answer requests."""
        self._thread.start()
        self._running.wait()

    def use(
        self,
        application: Asgi,
        *,
        on_start: Callable[[asyncio.AbstractEventLoop], None],
        on_close: Callable[[], None],
        tasks: Callable[[], list[Coroutine[Any, Any, None]]] = list,
    ) -> None:
        """Answer by an application from now on. After `start`.

        Args:
            application: an ASGI application.
            on_start: called in the loop before its first request.
            on_close: called in the loop at the end, before answers are waited for.
            tasks: returns what runs beside it; called in the loop, cancelled at the end.

        Raises:
            NanosegError: it has ended.
        """

        def begin(loop: asyncio.AbstractEventLoop) -> None:
            on_start(loop)
            self._application, self._on_close = application, on_close
            self._beside = [asyncio.ensure_future(task) for task in tasks()]
            for task in self._beside:
                task.add_done_callback(self._ended)

        if (loop := self._loop) is None or loop.is_closed():
            raise NanosegError("http: the server has ended")
        loop.call_soon_threadsafe(begin, loop)

    def close(self) -> None:
        """End all answers and tasks, within a few seconds. May be called twice."""
        if self._loop is not None:
            with suppress(RuntimeError):  # it is closed
                self._loop.call_soon_threadsafe(lambda: self._on_close())
        self._server.should_exit = True
        self._thread.join(_CLOSE_S + 3)
        self._listener.close()

    def _serve(self) -> None:
        try:
            asyncio.run(self._run())
        finally:
            self._running.set()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._running.set()
        try:
            await self._server.serve(sockets=[self._listener])
        finally:
            for task in self._beside:
                task.cancel()
            await asyncio.gather(*self._beside, return_exceptions=True)

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        await self._application(scope, receive, send)

    def _ended(self, task: asyncio.Future[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._told(f"what runs beside HTTP has ended: {type(error).__name__}: {one_line(error)}")
