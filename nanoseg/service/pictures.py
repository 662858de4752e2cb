"""The latest picture of each camera, and its JPEG: encoded once for all readers, and not at all without one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from nanoseg.errors import needs
from nanoseg.service.result import FrameResult

with needs("OpenCV", "opencv"):
    import cv2

QUALITY = 80  # of JPEG


class Shown(NamedTuple):
    """The picture that all streams of a camera show now."""

    number: int  # of its result
    due_s: float  # when the next one may be shown
    jpeg: asyncio.Future[bytes]


class Pictures:
    """Keep the latest result of each camera for readers in an asyncio loop.

    `put` is for the loop of frames, `next` and `jpeg` for the asyncio loop.
    """

    def __init__(self, draw: Callable[[FrameResult], np.ndarray], executor: Executor) -> None:
        """Take what draws the objects on a copy of the picture, and the threads that draw and encode."""
        self._draw, self._executor = draw, executor
        self._latest: dict[str, FrameResult] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiters: set[asyncio.Future[None]] = set()
        # By camera and whether objects are drawn in; none of them keeps a frame that is not the latest.
        self._jpegs: dict[tuple[str, bool], tuple[int, asyncio.Future[bytes]]] = {}
        self._shown: dict[tuple[str, bool], Shown] = {}

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Name the asyncio loop of the readers."""
        self._loop = loop

    def put(self, result: FrameResult) -> None:
        """Keep a result, and wake those who wait for it. Called in the thread of frames; never waits."""
        self._latest[result.source] = result
        if self._waiters and self._loop is not None:
            with suppress(RuntimeError):  # the asyncio loop is closed
                self._loop.call_soon_threadsafe(self._wake)

    def forget(self, sources: set[str]) -> None:
        """Drop the pictures of all other cameras. In the thread of frames."""
        for name in self._latest.keys() - sources:
            self._latest.pop(name, None)
        if self._loop is not None:
            with suppress(RuntimeError):  # the asyncio loop is closed
                self._loop.call_soon_threadsafe(self._forget, sources)

    def latest(self, source: str) -> FrameResult | None:
        """Return the latest result of a camera, or None."""
        return self._latest.get(source)

    async def next(self, source: str, seen: int, *, overlay: bool, fps: float) -> tuple[int, bytes]:
        """Wait for a picture other than the one that was seen, and return its number and JPEG.

        All streams of a camera go from picture to picture together, so that they share each JPEG: at most `fps` are
        made in a second, however many readers there are.
        """
        while True:
            fresh = asyncio.get_running_loop().create_future()
            self._waiters.add(fresh)  # before the look, or what comes between would not wake it
            try:
                shown = self._show(source, overlay, fps)
                if shown is not None and shown.number != seen:
                    return shown.number, await asyncio.shield(shown.jpeg)
                wait_s = 0.0 if shown is None else shown.due_s - time.monotonic()
                if wait_s <= 0:
                    await fresh
            finally:
                self._waiters.discard(fresh)
            await asyncio.sleep(wait_s)

    async def jpeg(self, result: FrameResult, *, overlay: bool) -> bytes:
        """Return the JPEG of a result, with the objects drawn in or without; all who ask share one."""
        return await asyncio.shield(self._jpeg(result, overlay))

    async def encode(self, image: np.ndarray) -> bytes:
        """Return (H, W, 3) uint8 BGR pixels as a JPEG, encoded in another thread."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, encode_jpeg, image)

    def _show(self, source: str, overlay: bool, fps: float) -> Shown | None:
        """Return what is shown now: the latest picture where another one is due."""
        key, latest, now_s = (source, overlay), self._latest.get(source), time.monotonic()
        shown = self._shown.get(key)
        if latest is not None and (shown is None or (shown.due_s <= now_s and shown.number != latest.number)):
            due_s = now_s if shown is None else shown.due_s
            due_s += (int((now_s - due_s) * fps) + 1) / fps  # in step, also where the picture came late
            shown = self._shown[key] = Shown(latest.number, due_s, self._jpeg(latest, overlay))
        return shown

    def _jpeg(self, result: FrameResult, overlay: bool) -> asyncio.Future[bytes]:
        key = result.source, overlay
        kept = self._jpegs.get(key)
        if kept is None or kept[0] != result.number:
            loop = asyncio.get_running_loop()
            kept = result.number, loop.run_in_executor(self._executor, self._encode, result, overlay)
            self._jpegs[key] = kept
        return kept[1]

    def _forget(self, sources: set[str]) -> None:
        for kept in (self._jpegs, self._shown):
            for key in [key for key in kept if key[0] not in sources]:
                del kept[key]

    def _encode(self, result: FrameResult, overlay: bool) -> bytes:
        return encode_jpeg(self._draw(result) if overlay else result.frame.image)

    def _wake(self) -> None:
        for fresh in self._waiters:
            if not fresh.done():
                fresh.set_result(None)


def encode_jpeg(image: np.ndarray) -> bytes:
    """Return (H, W, 3) uint8 BGR pixels as a JPEG."""
    encoded, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    if not encoded:
        raise ValueError(f"a picture of {image.shape} could not be encoded")
    return bytes(data)
