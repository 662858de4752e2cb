"""The application: what each path answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol

import msgspec

from nanoseg.errors import UsageError, needs, one_line
from nanoseg.service.config import HttpConfig
from nanoseg.service.http.bodies import read_form, read_json
from nanoseg.service.http.guard import Guard
from nanoseg.service.http.openapi import openapi
from nanoseg.service.http.prompts import PromptAnswers
from nanoseg.service.http.refusals import INTERNAL, Expected, error_response, reason, refusal
from nanoseg.service.http.streams import BOUNDARY, EndlessResponse, EventQueue, Events, event_stream, motion_jpeg
from nanoseg.service.http.token import SIGNED_PATHS, SIGNED_S, TokenCheck
from nanoseg.service.metrics import CONTENT_TYPE
from nanoseg.service.pictures import Pictures
from nanoseg.service.result import FrameResult
from nanoseg.utils.names import encode_json

with needs("starlette", "serve"):
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

PAGE = Path(__file__).parent.parent / "page"
_TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


class Swaps(Protocol):
    """Exchanges the bundle."""

    def start(self, bundle: str) -> int:
        """Start to try a bundle beside the running one; returns its number, raises UsageError while one is tried."""

    def undo(self) -> int:
        """Put the one before back, or call a trial off; returns its number, raises UsageError where there is none."""


@dataclass(frozen=True)
class View:
    """What the application sees of the service; all of it may be called in the asyncio loop."""

    http: HttpConfig
    sources: Callable[[], Sequence[str]]  # names of the cameras
    state: Callable[[], Mapping[str, Any]]
    trouble: Callable[[], str]  # why the loop is not alive; empty: it is
    metrics: Callable[[], bytes]
    token: Callable[[], TokenCheck]  # another one where the token has changed
    hosts: Set[str]  # names that this service is called by
    told: Callable[[str, str], None]  # takes a line about trouble, and what it has in common with others
    low_memory: Callable[[], bool]
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
            Route("/readyz", self._healthz),  # there is an application once the engines are loaded
            Route("/metrics", self._metrics),
            Route("/openapi.json", self._openapi),
            Route("/state", self._state),
            Route("/stream.mjpg", self._stream),
            Route("/snapshot.jpg", self._snapshot),
            Route("/events", self._events),
            Route("/segment", self._segment, methods=["POST"]),
            Route("/sign", self._sign, methods=["POST"]),
            Route("/bundle", self._bundle, methods=["POST", "DELETE"]),
        ]
        starlette = Starlette(routes=routes, exception_handlers={HTTPException: self._refused, Exception: self._failed})
        starlette.router.redirect_slashes = False  # it would redirect to whatever the Host header says
        self.asgi = Guard(
            starlette,
            token=view.token,
            hosts=view.hosts,
            max_body_bytes=int(view.http.max_body_mb * 1e6),
            told=view.told,
        )

    def close(self) -> None:
        """End the answers without end. In the asyncio loop."""
        self._closing.set()

    async def _refused(self, request: Request, error: Any) -> Response:
        if not isinstance(error, Expected) and request.scope["path"] != "/favicon.ico":
            cause = f": {one_line(error.__cause__)}" if error.status_code >= 500 and error.__cause__ else ""
            self._view.told(*refusal(request.scope, error.status_code, f"{reason(error)}{cause}"))
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

    async def _metrics(self, _: Request) -> Response:
        return Response(self._view.metrics(), media_type=CONTENT_TYPE)

    async def _openapi(self, _: Request) -> Response:
        return _as_json(openapi(self._view.token().wanted))

    async def _state(self, _: Request) -> Response:
        return _as_json(dict(self._view.state()))

    async def _stream(self, request: Request) -> Response:
        source, overlay = self._source(request), _flag(request, "overlay", True)
        parts = motion_jpeg(self._pictures, source, overlay=overlay, fps=self._view.http.stream_fps)
        self._enter("stream")
        media_type = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
        return self._endless(parts, media_type, source, lambda: self._leave("stream"))

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

        parts = event_stream(self._event_queues, queue, lambda: encode_json(dict(self._view.state())))
        return self._endless(parts, "text/event-stream", source, leave)

    async def _segment(self, request: Request) -> Response:
        if self._view.low_memory():
            raise HTTPException(503, "too little memory is left", {"Retry-After": "10"})
        with self._prompts.enter():  # before the body is read, of which only so many are in memory
            form = await read_form(request)
            prompts = form.pop("prompts", None)
            if len(form) != 1:
                raise HTTPException(422, "form: wanted one of image, source and frame, and prompts")
            [(kind, content)] = form.items()
            if kind == "image":
                return _as_json(await self._prompts.picture(content, prompts))
            text = content.decode(errors="replace")
            if kind == "frame":
                return _as_json(await self._prompts.earlier(text, prompts))
            if kind == "source":
                latest = self._latest(self._known(text))
                return _as_json(await self._prompts.pixels(latest.frame.image, prompts))
            raise HTTPException(422, f"form: {kind[:40]} is unknown; wanted image, source or frame, and prompts")

    async def _sign(self, request: Request) -> Response:
        path, _, query = (await read_json(request, _Sign)).path.partition("?")
        if path not in SIGNED_PATHS:
            raise HTTPException(422, f"path: wanted one of {', '.join(SIGNED_PATHS)}")
        return _as_json({"url": self._view.token().sign(path, query), "expires_in_s": SIGNED_S})

    async def _bundle(self, request: Request) -> Response:
        if request.method == "DELETE":
            return _started(self._view.swaps.undo)
        bundle = (await read_json(request, _Swap)).bundle
        return _started(lambda: self._view.swaps.start(bundle))

    def _endless(
        self, parts: AsyncIterator[bytes], media_type: str, source: str | None, on_end: Callable[[], None]
    ) -> Response:
        """Return an answer that lasts as long as its camera is configured, and the token is the same."""
        token = self._view.token()

        def may_go_on() -> bool:
            return token is self._view.token() and (source is None or source in self._view.sources())

        return EndlessResponse(parts, media_type, self._closing, may_go_on=may_go_on, on_end=on_end)

    def _source(self, request: Request) -> str:
        return self._known(request.query_params.get("source", self._view.sources()[0]))

    def _latest(self, source: str) -> FrameResult:
        result = self._pictures.latest(source)
        if result is None:
            raise Expected(503, f"{source}: no picture yet", {"Retry-After": "1"})
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
    bundle: Annotated[str, msgspec.Meta(min_length=1)]


def _file(path: Path) -> Response:
    try:
        content = path.read_bytes()
    except OSError:
        raise HTTPException(404, "no such file") from None
    return Response(content, headers={"Content-Type": _TYPES[path.suffix], "Cache-Control": "no-cache"})


def _as_json(value: Any, status: int = 200) -> Response:
    return Response(encode_json(value), status, media_type="application/json")


def _status(trouble: str) -> Response:
    return _as_json({"status": trouble or "ok"}, 503 if trouble else 200)


def _started(start: Callable[[], int]) -> Response:
    try:
        number = start()
    except UsageError as error:
        raise HTTPException(409, str(error)) from error
    return _as_json({"status": "started", "number": number}, 202)


def _flag(request: Request, name: str, default: bool) -> bool:
    text = request.query_params.get(name, str(int(default)))
    if text not in ("0", "1"):
        raise HTTPException(422, f"{name}: wanted 0 or 1")
    return text == "1"
