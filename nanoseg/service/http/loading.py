"""What is answered while the engines are loaded: alive, not ready, and nothing else."""

from __future__ import annotations

from nanoseg.errors import needs
from nanoseg.service.http.refusals import HEADERS, NO_STORE
from nanoseg.utils.names import encode_json

with needs("starlette", "serve"):
    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send

LOADING = "the engines are being loaded"


async def answer_loading(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request."""
    path = scope["path"]
    document, status = {"error": LOADING}, 503
    if path == "/healthz":
        document, status = {"status": "ok"}, 200
    elif path == "/readyz":
        document = {"status": LOADING}
    response = Response(encode_json(document), status, media_type="application/json")
    response.raw_headers += [*HEADERS, NO_STORE, *([(b"retry-after", b"5")] if status == 503 else [])]
    await response(scope, receive, send)
