"""The latest picture of each camera, and its JPEG: encoded once for all readers, and not at all without one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress

import numpy as np

from nanoseg.errors import needs
from nanoseg.service.result import FrameResult

with needs("OpenCV", "opencv"):
    import cv2

QUALITY = 80  # of JPEG


class Pictures:
    """Keep the latest result of each camera for readers in an asyncio loop.

    `put` is for the loop of frames, `watch` and `jpeg` for the asyncio loop.
    """

    def __init__(self, draw: Callable[[FrameResult], np.ndarray], executor: Executor) -> None:
        """Take what draws the objects on a copy of the picture, and the threads that draw and encode."""
        self._draw, self._executor = draw, executor
        self._latest: dict[str, FrameResult] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiters: set[asyncio.Future[None]] = set()
        self._jpegs: dict[tuple[str, bool], tuple[FrameResult, asyncio.Future[bytes]]] = {}

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
        """Drop the pictures of all other cameras."""
        for name in self._latest.keys() - sources:
            self._latest.pop(name, None)

    def latest(self, source: str) -> FrameResult | None:
        """Return the latest result of a camera, or None."""
        return self._latest.get(source)

    async def watch(self, source: str, seen: FrameResult | None) -> FrameResult:
        """Wait for a result other than the one that was seen."""
        while True:
            fresh = asyncio.get_running_loop().create_future()
            self._waiters.add(fresh)  # before the look, or what comes between would not wake it
            try:
                result = self._latest.get(source)
                if result is not None and result is not seen:
                    return result
                await fresh
            finally:
                self._waiters.discard(fresh)

    async def jpeg(self, result: FrameResult, *, overlay: bool) -> bytes:
        """Return the JPEG of a result, with the objects drawn in or without; all who ask share one."""
        key = result.source, overlay
        kept = self._jpegs.get(key)
        if kept is None or kept[0] is not result:
            loop = asyncio.get_running_loop()
            kept = result, asyncio.ensure_future(loop.run_in_executor(self._executor, self._encode, result, overlay))
            self._jpegs[key] = kept
        return await asyncio.shield(kept[1])

    async def encode(self, image: np.ndarray) -> bytes:
        """Return (H, W, 3) uint8 BGR pixels as a JPEG, encoded in another thread."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, encode_jpeg, image)

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
