"""Requests that are refused: a status, one line as JSON without internals, and the headers of every response."""

from __future__ import annotations

from collections.abc import MutableMapping
from http import HTTPStatus
from typing import Any

from nanoseg.errors import needs
from nanoseg.utils.names import encode_json
from nanoseg.utils.text import printable, shorten

with needs("starlette", "serve"):
    from starlette.exceptions import HTTPException
    from starlette.responses import Response


class Expected(HTTPException):
    """A refusal that is no trouble: what was asked for is not there yet, or not any more."""


INTERNAL = HTTPException(500, "it failed; the log of the service has the reason")
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
NO_STORE = (b"cache-control", b"no-store")
_MAX_REASON = 500  # letters: it may quote what the client sent
_MAX_PATH = 100


def reason(error: HTTPException) -> str:
    """Return why a request is refused, as one line."""
    return shorten(printable(str(error.detail)), _MAX_REASON)


def error_response(error: HTTPException) -> Response:
    """Return the response to a request that is refused: its status, and one line as JSON."""
    return Response(encode_json({"error": reason(error)}), error.status_code, error.headers, "application/json")


def raw_response(status: int, line: str) -> bytes:
    """Return a whole response to what is no request, after which the connection is closed."""
    body = encode_json({"error": line})
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        *HEADERS,
        NO_STORE,
    ]
    head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode()
    return head + b"".join(b"%s: %s\r\n" % header for header in headers) + b"\r\n" + body


def refusal(scope: MutableMapping[str, Any], status: int, why: str) -> tuple[str, str]:
    """Return a line about a request that is not answered, and what such lines have in common.

    That is without the request: a stranger who tries many paths fills no log. Only a failure's has it.
    """
    line = f"{described(scope)}: {status} {why}"
    return line, line if status == 500 else f"{status} {why}"


def described(scope: MutableMapping[str, Any]) -> str:
    """Return a request as one line without what may be secret: its query may have a signature."""
    return printable(f"{scope['method'][:10]} {scope['path'][:_MAX_PATH]}")
