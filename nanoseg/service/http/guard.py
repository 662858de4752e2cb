"""What every request passes: the token, the host, the size of its body, security headers, errors without internals."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Set
from urllib.parse import urlsplit

from nanoseg.errors import needs, one_line
from nanoseg.service.http.token import TokenCheck

with needs("starlette", "serve"):
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

INTERNAL = HTTPException(500, "it failed; the log of the service has the reason")
BODY_S = 20.0  # in which a body has to be there
_HEALTH_PATHS = ("/healthz", "/readyz")
_OPEN_PATHS = ("/", *_HEALTH_PATHS)
HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; form-action 'none'; "
        b"frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        token: Callable[[], TokenCheck],
        hosts: Set[str],
        max_body_bytes: int,
        told: Callable[[str], None],
    ) -> None:
        """Wrap an application.

        Args:
            app: what answers.
            token: returns the check of the moment.
            hosts: names that this service is called by where there is no token: a page of another site
                whose name is made to point here would else be answered.
            max_body_bytes: of a request.
            told: takes a line about a request that was refused.
        """
        self._app, self._token, self._hosts = app, token, hosts
        self._max_body_bytes, self._told = max_body_bytes, told

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def send_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message.get("headers", ()), *HEADERS]
                if not any(name == b"cache-control" for name, _ in message["headers"]):
                    message["headers"].append((b"cache-control", b"no-store"))
            await send(message)

        try:
            self._check(Request(scope))
            await self._app(scope, self._limited(receive), send_headers)
        except HTTPException as error:
            failure = error
        except Exception as error:
            self._told(f"{_described(scope)}: 500 {type(error).__name__}: {one_line(error)}")
            failure = INTERNAL
        else:
            return
        if failure is not INTERNAL:
            self._told(f"{_described(scope)}: {failure.status_code} {failure.detail}")
        if not started:
            await error_response(failure)(scope, receive, send_headers)

    def _check(self, request: Request) -> None:
        token, path = self._token(), request.url.path
        length = request.headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()):
            raise HTTPException(400, "content-length is no number")
        if int(length[:20]) > self._max_body_bytes:
            raise HTTPException(413, f"the body is larger than {self._max_body_bytes} bytes")
        if token.wanted:
            if path in _OPEN_PATHS or path.startswith("/page/"):
                return
            if token.accepts(request.headers.get("authorization", "")):
                return
            if request.method in ("GET", "HEAD") and token.accepts_signed(path, request.url.query):
                return
            raise HTTPException(401, "wanted the bearer token", {"WWW-Authenticate": "Bearer"})
        if path in _HEALTH_PATHS:
            return
        host = _host(request.headers.get("host", ""))
        if host not in self._hosts:
            raise HTTPException(421, "this service is not called by that name")
        origin = request.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
            raise HTTPException(403, "requests from pages of other sites are not answered")

    def _limited(self, receive: Receive) -> Receive:
        """Return `receive` with a limit on the bytes and the time of a body."""
        left, end_s = self._max_body_bytes, asyncio.get_running_loop().time() + BODY_S
        complete = False

        async def limited() -> Message:
            nonlocal left, complete
            if complete:  # what follows is the end of the connection, for which a stream waits
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), max(0.0, end_s - asyncio.get_running_loop().time()))
            except asyncio.TimeoutError:
                raise HTTPException(408, f"the body was not there within {BODY_S:g} s") from None
            left -= len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if left < 0:
                raise HTTPException(413, f"the body is larger than {self._max_body_bytes} bytes")
            return message

        return limited


def _host(header: str) -> str:
    """Return the name in a Host header, without its port."""
    try:
        return (urlsplit(f"//{header}").hostname or "").lower()
    except ValueError:
        return ""


def error_response(error: HTTPException) -> JSONResponse:
    """Return the answer to a request that is refused: its status, and one line as JSON."""
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


def _described(scope: Scope) -> str:
    """Return a request without what may be secret: its query may have a signature."""
    return f"{scope['method'][:10]} {scope['path'][:100]}"
