"""Answers without end: motion JPEG and server-sent events. A reader that is slow gets less, and no other notices."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, suppress

from nanoseg.errors import needs
from nanoseg.service.frame_record import FrameRecord, WaitingRecords
from nanoseg.service.http.connection import CONNECTION
from nanoseg.service.pictures import Pictures
from nanoseg.service.result import FrameResult

with needs("starlette", "serve"):
    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send

BOUNDARY = "frame"
EVENTS = 64  # that wait for a reader
LOOK_S = 1.0  # between two looks whether a reader may still have what it reads


class EndlessResponse(Response):
    """Send what an iterator yields until it ends, the service closes, the reader leaves, is stalled or shut out."""

    def __init__(
        self,
        parts: AsyncIterator[bytes],
        media_type: str,
        closing: asyncio.Event,
        *,
        may_go_on: Callable[[], bool],
        on_end: Callable[[], None],
    ) -> None:
        """Describe the response.

        Args:
            parts: what is sent.
            media_type: of all parts together.
            closing: set when the service closes.
            may_go_on: returns whether the reader may still have it; asked each LOOK_S.
            on_end: called once the reader has gone.
        """
        super().__init__(media_type=media_type, headers={"Connection": "close"})
        del self.headers["content-length"]
        self._parts, self._closing, self._may_go_on, self._on_end = parts, closing, may_go_on, on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        scope[CONNECTION].endless = True
        sending = asyncio.ensure_future(self._send(scope, send))
        tasks = [sending, *(asyncio.ensure_future(each) for each in (_left(receive), self._closing.wait()))]
        try:
            while self._may_go_on():
                done, _ = await asyncio.wait(tasks, timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
                if done:
                    break
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._on_end()
        if not sending.cancelled() and (error := sending.exception()) is not None:
            raise error

    async def _send(self, scope: Scope, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if scope["method"] != "HEAD":
            async with aclosing(self._parts) as parts:  # type: ignore[type-var]
                async for part in parts:
                    await send({"type": "http.response.body", "body": part, "more_body": True})
                    await scope[CONNECTION].taken()  # so that the next part is the newest then
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def motion_jpeg(pictures: Pictures, source: str, *, overlay: bool, fps: float) -> AsyncIterator[bytes]:
    """Yield the newest picture each time as a part of multipart/x-mixed-replace, at most `fps` a second."""
    seen = 0
    yield f"--{BOUNDARY}\r\n".encode()
    while True:
        seen, jpeg = await pictures.next(source, seen, overlay=overlay, fps=fps)
        # The boundary that ends the part is sent with it: else a browser shows it when the next one comes.
        head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
        yield head.encode() + jpeg + f"\r\n--{BOUNDARY}\r\n".encode()


class EventQueue:
    """Records that wait for one reader: beyond EVENTS the oldest is dropped. Used in the asyncio loop alone."""

    def __init__(self, source: str | None, *, masks: bool) -> None:
        """Wait for records of one camera, or of all, with the masks or without."""
        self.source, self.masks = source, masks
        self.dropped = 0
        self._waiting = WaitingRecords(EVENTS)
        self._fresh: asyncio.Future[None] | None = None  # that the reader waits for

    def put(self, result: FrameResult) -> None:
        """Take a result."""
        if self.source in (None, result.source):
            self.dropped += self._waiting.append(result.record(masks=self.masks))
            if self._fresh is not None and not self._fresh.done():
                self._fresh.set_result(None)

    async def next(self, timeout_s: float) -> FrameRecord | None:
        """Return the oldest record that waits, or None after the time."""
        if not len(self._waiting):
            self._fresh = asyncio.get_running_loop().create_future()
            # Not `wait_for`: before Python 3.12 it is not cancelled where the future is done in the same turn.
            await asyncio.wait([self._fresh], timeout=timeout_s)
        return self._waiting.popleft() if len(self._waiting) else None


class Events:
    """The queues of all readers of events. `put` is for the thread of frames, the rest for the asyncio loop."""

    def __init__(self) -> None:
        """Start without a reader."""
        self._queues: set[EventQueue] = set()
        self._dropped = 0  # of readers that have left
        self._making: dict[FrameRecord, asyncio.Future[bytes]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def dropped(self) -> int:
        """Events that readers had no room for."""
        return self._dropped + sum(queue.dropped for queue in tuple(self._queues))

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Name the asyncio loop of the readers."""
        self._loop = loop

    def put(self, result: FrameResult) -> None:
        """Give a result to all readers; never waits."""
        if self._queues and self._loop is not None:
            with suppress(RuntimeError):  # the asyncio loop is closed
                self._loop.call_soon_threadsafe(self._put, result)

    def enter(self, queue: EventQueue) -> None:
        """Add a reader."""
        self._queues.add(queue)

    def leave(self, queue: EventQueue) -> None:
        """Remove a reader."""
        self._queues.discard(queue)
        self._dropped += queue.dropped

    async def json(self, record: FrameRecord) -> bytes:
        """Return the JSON of a record, made in another thread, once for all that ask."""
        if record.made is not None:
            return record.made
        if record not in self._making:
            making = asyncio.get_running_loop().run_in_executor(None, record.json)
            self._making[record] = making
            making.add_done_callback(lambda _: self._making.pop(record))
        return await asyncio.shield(self._making[record])

    def _put(self, result: FrameResult) -> None:
        for queue in self._queues:
            queue.put(result)


async def event_stream(
    events: Events, queue: EventQueue, state: Callable[[], bytes], every_s: float = 1.0
) -> AsyncIterator[bytes]:
    """Yield server-sent events: `record` for each frame, and `state` every second, as a sign of life."""
    yield b"retry: 2000\n\n"
    due_s = time.monotonic()
    while True:
        record = await queue.next(max(0.0, due_s - time.monotonic()))
        if record is not None:
            yield b"event: record\ndata: " + await events.json(record) + b"\n\n"
        if (now_s := time.monotonic()) >= due_s:
            due_s = now_s + every_s
            yield b"event: state\ndata: " + state() + b"\n\n"


async def _left(receive: Receive) -> None:
    """Return when the reader has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass
