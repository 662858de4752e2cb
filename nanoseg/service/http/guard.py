"""What every request passes: the token, the host, the size of its body, security headers, errors without internals."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Set

from nanoseg.errors import needs, one_line
from nanoseg.service.http.connection import CONNECTION
from nanoseg.service.http.refusals import HEADERS, INTERNAL, NO_STORE, error_response, reason, refusal
from nanoseg.service.http.token import TokenCheck

with needs("starlette", "serve"):
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_S = 20.0  # in which a body has to be there
_HEALTH_PATHS = ("/healthz", "/readyz")
_OPEN_PATHS = ("/", *_HEALTH_PATHS)
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?", re.IGNORECASE)


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        token: Callable[[], TokenCheck],
        hosts: Set[str],
        max_body_bytes: int,
        told: Callable[[str, str], None],
    ) -> None:
        """Wrap an application.

        Args:
            app: what answers.
            token: returns the check of the moment.
            hosts: names that this service is called by where there is no token: a page of another site
                whose name is made to point here would else be answered.
            max_body_bytes: of a request.
            told: takes a line about a request that was refused, and what it has in common with others.
        """
        self._app, self._token, self._hosts = app, token, hosts
        self._max_body_bytes, self._told = max_body_bytes, told

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        started = False

        async def send_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message.get("headers", ()), *HEADERS]
                if not any(name == b"cache-control" for name, _ in message["headers"]):
                    message["headers"].append(NO_STORE)
            await send(message)

        try:
            self._check(Request(scope))
            await self._app(scope, self._limited(receive), send_headers)
        except HTTPException as error:
            failure, why = error, reason(error)
        except Exception as error:
            failure, why = INTERNAL, f"{type(error).__name__}: {one_line(error)}"
        else:
            return
        self._told(*refusal(scope, failure.status_code, why))
        if not started:
            await error_response(failure)(scope, receive, send_headers)

    def _check(self, request: Request) -> None:
        """Raise HTTPException for a request that is not answered."""
        if request.scope[CONNECTION].crowded:
            raise HTTPException(503, "too many connections", {"Connection": "close", "Retry-After": "10"})
        self._check_sender(request)
        # Not `request.url`, into which some versions of starlette put the Host header as it is.
        if not request.scope["path"].isprintable():
            raise HTTPException(404, "Not Found")
        if int(request.headers.get("content-length", "0")) > self._max_body_bytes:
            raise HTTPException(413, f"the body is larger than {self._max_body_bytes} bytes")

    def _check_sender(self, request: Request) -> None:
        token, path = self._token(), request.scope["path"]
        if token.wanted:
            if path in _OPEN_PATHS or path.startswith("/page/"):
                return
            if token.accepts(request.headers.get("authorization", "")):
                return
            query = request.scope["query_string"].decode("latin-1")
            if request.method in ("GET", "HEAD") and token.accepts_signed(path, query):
                return
            raise HTTPException(401, "wanted the bearer token", {"WWW-Authenticate": "Bearer"})
        if path in _HEALTH_PATHS:
            return
        host = request.headers.get("host", "")
        match = _HOST.fullmatch(host)
        if match is None or match[1].strip("[]").lower() not in self._hosts:
            raise HTTPException(421, "this service is not called by that name")
        origin = request.headers.get("origin")
        if origin is not None and origin.lower().partition("://")[2] != host.lower():
            raise HTTPException(403, "requests from pages of other sites are not answered")

    def _limited(self, receive: Receive) -> Receive:
        """Return `receive` with a limit on the bytes and the time of a body."""
        left, end_s = self._max_body_bytes, asyncio.get_running_loop().time() + BODY_S
        complete = False

        async def limited() -> Message:
            nonlocal left, complete
            if complete:  # what follows is the end of the connection, for which a stream waits
                return await receive()
            receiving = asyncio.ensure_future(receive())
            try:
                # Not `wait_for`: before Python 3.12 it is not cancelled where the message comes in the same turn.
                await asyncio.wait([receiving], timeout=max(0.0, end_s - asyncio.get_running_loop().time()))
            finally:
                receiving.cancel()
            if not receiving.done():
                raise HTTPException(408, f"the body was not there within {BODY_S:g} s")
            message = receiving.result()
            if message["type"] == "http.disconnect":
                raise HTTPException(400, "the connection has ended within the body")
            left -= len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if left < 0:
                raise HTTPException(413, f"the body is larger than {self._max_body_bytes} bytes")
            return message

        return limited
