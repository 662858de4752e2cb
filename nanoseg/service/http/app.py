"""The application: what each path answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from nanoseg.errors import UsageError, needs
from nanoseg.service.config import HttpConfig
from nanoseg.service.http.guard import INTERNAL, Guard, error_response
from nanoseg.service.http.openapi import openapi
from nanoseg.service.http.prompts import PromptAnswers
from nanoseg.service.http.streams import BOUNDARY, EndlessResponse, EventQueue, Events, event_stream, motion_jpeg
from nanoseg.service.http.token import SIGNED_PATHS, SIGNED_S, TokenCheck
from nanoseg.service.metrics import CONTENT_TYPE
from nanoseg.service.pictures import Pictures
from nanoseg.service.result import FrameResult
from nanoseg.utils.names import encode_json

with needs("starlette", "serve"):
    from starlette.applications import Starlette
    from starlette.datastructures import UploadFile
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

T = TypeVar("T")

PAGE = Path(__file__).parent.parent / "page"
_TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


class Swaps(Protocol):
    """Exchanges the bundle."""

    def start(self, bundle: str) -> None:
        """Start to try a bundle beside the running one; raises UsageError where one is tried already."""

    def undo(self) -> None:
        """Put the one before back; raises UsageError where there is none."""


@dataclass(frozen=True)
class View:
    """What the application sees of the service; all of it may be called in the asyncio loop."""

    http: HttpConfig
    sources: Callable[[], Sequence[str]]  # names of the cameras
    state: Callable[[], Mapping[str, Any]]
    trouble: Callable[[], str]  # why the loop is not alive; empty: it is
    not_ready: Callable[[], str]  # why it is not ready; empty: it is
    metrics: Callable[[], bytes]
    token: Callable[[], TokenCheck]
    hosts: Set[str]  # names that this service is called by
    told: Callable[[str], None]
    swaps: Swaps


class Application:
    """The answers to all paths."""

    def __init__(self, view: View, pictures: Pictures, events: Events, prompts: PromptAnswers) -> None:
        """Take what is shown."""
        self._view, self._pictures, self._event_queues, self._prompts = view, pictures, events, prompts
        self.readers = {"stream": 0, "events": 0}
        self._closing = asyncio.Event()
        routes = [
            Route("/", self._page),
            Route("/page/{name}", self._page_file),
            Route("/healthz", self._healthz),
            Route("/readyz", self._readyz),
            Route("/metrics", self._metrics),
            Route("/openapi.json", self._openapi),
            Route("/state", self._state),
            Route("/stream.mjpg", self._stream),
            Route("/snapshot.jpg", self._snapshot),
            Route("/events", self._events),
            Route("/segment", self._segment, methods=["POST"]),
            Route("/sign", self._sign, methods=["POST"]),
            Route("/bundle", self._swap, methods=["POST"]),
            Route("/bundle", self._undo, methods=["DELETE"]),
        ]
        self.asgi = Guard(
            Starlette(routes=routes, exception_handlers={HTTPException: self._refused, Exception: self._failed}),
            token=view.token,
            hosts=view.hosts,
            max_body_bytes=int(view.http.max_body_mb * 1e6),
            told=view.told,
        )

    def close(self) -> None:
        """End the answers without end. In the asyncio loop."""
        self._closing.set()

    async def _refused(self, request: Request, error: Any) -> Response:
        if error.status_code != 404 or request.url.path != "/favicon.ico":
            self._view.told(f"{request.method[:10]} {request.url.path[:100]}: {error.status_code} {error.detail}")
        return error_response(error)

    async def _failed(self, _: Request, __: Exception) -> Response:
        return error_response(INTERNAL)  # the guard tells the error, which is raised on

    async def _page(self, _: Request) -> Response:
        return _file(PAGE / "index.html")

    async def _page_file(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in {path.name for path in PAGE.iterdir() if path.suffix in _TYPES}:
            raise HTTPException(404, "no such file")
        return _file(PAGE / name)

    async def _healthz(self, _: Request) -> Response:
        return _status(self._view.trouble())

    async def _readyz(self, _: Request) -> Response:
        return _status(self._view.trouble() or self._view.not_ready())

    async def _metrics(self, _: Request) -> Response:
        return Response(self._view.metrics(), media_type=CONTENT_TYPE)

    async def _openapi(self, _: Request) -> Response:
        return JSONResponse(openapi(self._view.token().wanted))

    async def _state(self, _: Request) -> Response:
        return Response(encode_json(dict(self._view.state())), media_type="application/json")

    async def _stream(self, request: Request) -> Response:
        source, overlay = self._source(request), _flag(request, "overlay", True)
        parts = motion_jpeg(self._pictures, source, overlay=overlay, fps=self._view.http.stream_fps)
        self._enter("stream")
        media_type = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
        return EndlessResponse(parts, media_type, self._closing, lambda: self._leave("stream"))

    async def _snapshot(self, request: Request) -> Response:
        overlay = _flag(request, "overlay", True)
        if (earlier := request.query_params.get("frame")) is not None:
            jpeg = await self._pictures.encode(self._prompts.image(earlier))
        else:
            jpeg = await self._pictures.jpeg(self._latest(self._source(request)), overlay=overlay)
        return Response(jpeg, media_type="image/jpeg")

    async def _events(self, request: Request) -> Response:
        source = self._source(request) if "source" in request.query_params else None
        queue = EventQueue(source, masks=_flag(request, "masks", False))
        self._enter("events")
        self._event_queues.enter(queue)

        def leave() -> None:
            self._event_queues.leave(queue)
            self._leave("events")

        parts = event_stream(queue, lambda: encode_json(dict(self._view.state())))
        return EndlessResponse(parts, "text/event-stream", self._closing, leave)

    async def _segment(self, request: Request) -> Response:
        if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
            raise HTTPException(415, "wanted multipart/form-data with image, source or frame, and prompts")
        async with request.form(max_files=2, max_fields=4) as form:
            values = dict(form)
            prompts = await _bytes(values.pop("prompts", None))
            if len(values) != 1 or len(form.multi_items()) != 1 + (prompts is not None):
                raise HTTPException(422, "wanted one of image, source and frame, and prompts")
            [(kind, value)] = values.items()
            content = await _bytes(value) or b""
        if kind == "image":
            answer = await self._prompts.picture(content, prompts)
        elif kind == "frame":
            answer = await self._prompts.earlier(content.decode(errors="replace"), prompts)
        elif kind == "source":
            latest = self._latest(self._known(content.decode(errors="replace")))
            answer = await self._prompts.pixels(latest.frame.image, prompts)
        else:
            raise HTTPException(422, f"{kind[:40]}: unknown; wanted image, source or frame, and prompts")
        return JSONResponse(answer)

    async def _sign(self, request: Request) -> Response:
        path, _, query = (await _json(request, _Sign)).path.partition("?")
        if path not in SIGNED_PATHS:
            raise HTTPException(422, f"path: wanted one of {', '.join(SIGNED_PATHS)}")
        return JSONResponse({"url": self._view.token().sign(path, query), "expires_in_s": SIGNED_S})

    async def _swap(self, request: Request) -> Response:
        bundle = (await _json(request, _Swap)).bundle
        return _started(lambda: self._view.swaps.start(bundle))

    async def _undo(self, _: Request) -> Response:
        return _started(self._view.swaps.undo)

    def _source(self, request: Request) -> str:
        return self._known(request.query_params.get("source", self._view.sources()[0]))

    def _latest(self, source: str) -> FrameResult:
        result = self._pictures.latest(source)
        if result is None:
            raise HTTPException(503, f"{source}: no picture yet", {"Retry-After": "1"})
        return result

    def _known(self, source: str) -> str:
        if source not in self._view.sources():
            raise HTTPException(404, f"no such source; wanted one of {', '.join(self._view.sources())}")
        return source

    def _enter(self, kind: str) -> None:
        if sum(self.readers.values()) >= self._view.http.max_streams:
            reason = f"{self._view.http.max_streams} streams are open already; http.max_streams allows more"
            raise HTTPException(503, reason, {"Retry-After": "10"})
        self.readers[kind] += 1

    def _leave(self, kind: str) -> None:
        self.readers[kind] -= 1


class _Sign(msgspec.Struct, forbid_unknown_fields=True):
    path: str


class _Swap(msgspec.Struct, forbid_unknown_fields=True):
    bundle: str


def _file(path: Path) -> Response:
    try:
        content = path.read_bytes()
    except OSError:
        raise HTTPException(404, "no such file") from None
    return Response(content, headers={"Content-Type": _TYPES[path.suffix], "Cache-Control": "no-cache"})


def _status(reason: str) -> Response:
    return JSONResponse({"status": reason or "ok"}, 503 if reason else 200)


def _started(start: Callable[[], None]) -> Response:
    try:
        start()
    except UsageError as error:
        raise HTTPException(409, str(error)) from error
    return JSONResponse({"status": "started"}, 202)


def _flag(request: Request, name: str, default: bool) -> bool:
    text = request.query_params.get(name, str(int(default)))
    if text not in ("0", "1"):
        raise HTTPException(422, f"{name}: wanted 0 or 1")
    return text == "1"


async def _bytes(value: UploadFile | str | None) -> bytes | None:
    """Return the content of a part of a form."""
    if isinstance(value, UploadFile):
        return await value.read()
    return None if value is None else value.encode(errors="surrogateescape")


async def _json(request: Request, schema: type[T]) -> T:
    """Return the body as a struct; raises HTTPException 422 for another one."""
    try:
        return msgspec.json.decode(await request.body(), type=schema)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise HTTPException(422, f"body: {error}") from error
