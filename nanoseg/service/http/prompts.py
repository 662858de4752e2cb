"""`POST /segment`: prompts on a posted picture, a camera's latest one, or one of an earlier answer."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec
import numpy as np

from nanoseg.errors import DependencyError, NanosegError, SourceError, UsageError, needs
from nanoseg.processing.embedding import Embedding
from nanoseg.processing.masks import Masks
from nanoseg.processing.prompts import Prompts
from nanoseg.service.http.bodies import decode_json
from nanoseg.service.http.refusals import Expected
from nanoseg.sources.images import decode_picture

with needs("starlette", "serve"):
    from starlette.exceptions import HTTPException

if TYPE_CHECKING:
    from nanoseg.segmenter import Segmenter

T = TypeVar("T")

KEPT = 8  # embeddings of earlier answers, with their pictures
MAX_PIXELS = 16_000_000  # of a posted picture
MAX_KEPT_PIXELS = 2 * MAX_PIXELS  # of kept pictures together: 96 MB
SHARE = 0.1  # of the time that prompts may take from the loop of frames
OWED_S = 3.0  # of pauses that may be owed: the first clicks on a picture are answered at once
MAX_WAITING = 8  # requests that wait for their turn
WAIT_S = 10.0
MAX_PAUSE_S = 3.0  # after a request, whatever it took: on a CPU that is longer than somebody at the page waits
MAX_POINTS = 64  # of one prompt: the decoder's memory grows with them, for all prompts of a call
TOLERANCE_PX = 0.75  # of the polygons in an answer


class PromptRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The JSON of `prompts`; see Prompts.of."""

    boxes: list[list[float] | None] | None = None
    points: list[list[list[float]] | None] | None = None
    labels: list[list[int] | None] | None = None


class _Kept(NamedTuple):
    segmenter: Segmenter
    covered: object  # what was covered in the picture
    embedding: Embedding
    image: np.ndarray


class Turns:
    """One request at a time, with pauses, so that all of them take at most SHARE of the time; a few go at once."""

    def __init__(self) -> None:
        """Start without a request."""
        self._lock, self._entered, self._paid_s = asyncio.Lock(), 0, 0.0

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Count a request until it is answered; raises HTTPException 503 where too many are there."""
        if self._entered > MAX_WAITING:
            raise HTTPException(503, f"{MAX_WAITING} requests wait already", {"Retry-After": "2"})
        self._entered += 1
        try:
            yield
        finally:
            self._entered -= 1

    @asynccontextmanager
    async def take(self) -> AsyncIterator[None]:
        """Wait for a turn; raises HTTPException 503 after WAIT_S."""
        try:
            await asyncio.wait_for(self._lock.acquire(), WAIT_S)
        except asyncio.TimeoutError:
            raise HTTPException(503, "others take all the time that prompts may have", {"Retry-After": "5"}) from None
        try:
            await asyncio.sleep(max(0.0, self._paid_s - OWED_S - time.monotonic()))
            started_s = time.monotonic()
            try:
                yield
            finally:
                now_s = time.monotonic()
                pause_s = min(MAX_PAUSE_S, (now_s - started_s) * (1 / SHARE - 1))
                self._paid_s = max(self._paid_s, now_s) + pause_s
        finally:
            self._lock.release()


class PromptAnswers:
    """Answer prompts on pictures, and keep the embeddings for the next prompts on the same ones."""

    def __init__(
        self,
        segmenter: Callable[[], Segmenter],
        executor: Executor,
        max_prompts: int,
        covered: Callable[[], object] = lambda: None,
    ) -> None:
        """Take what pictures are answered with.

        Args:
            segmenter: returns that of the moment.
            executor: the thread that runs it.
            max_prompts: of a request.
            covered: returns what is covered in pictures at the moment: those that are kept are gone when it changes.
        """
        self._segmenter, self._executor, self._max_prompts = segmenter, executor, max_prompts
        self._covered = covered
        self._turns = Turns()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def enter(self) -> AbstractContextManager[None]:
        """Count a request until it is answered; raises HTTPException 503 where too many wait."""
        return self._turns.enter()

    async def picture(self, data: bytes, prompts: bytes | None) -> dict[str, Any]:
        """Answer prompts, or none, on the content of an image file; raises HTTPException."""
        return await self._answer(lambda: _decoded(data), self._parse(prompts))

    async def pixels(self, image: np.ndarray, prompts: bytes | None) -> dict[str, Any]:
        """Answer prompts, or none, on (H, W, 3) uint8 BGR pixels; raises HTTPException."""
        return await self._answer(lambda: image, self._parse(prompts))

    async def earlier(self, key: str, prompts: bytes | None) -> dict[str, Any]:
        """Answer prompts on the picture of an earlier answer; raises HTTPException, 410 where it is not kept."""
        request, kept = self._parse(prompts), self._look_up(key)
        async with self._turns.take():
            return await self._run(lambda: _segment(kept, request, key))

    def image(self, key: str) -> np.ndarray:
        """Return the picture of an earlier answer; raises HTTPException, 410 where it is not kept."""
        return self._look_up(key).image

    def _look_up(self, key: str) -> _Kept:
        kept = self._kept.get(key)
        if kept is None or kept.segmenter is not self._segmenter() or kept.covered != self._covered():
            raise Expected(410, "this picture is not kept any more; start with a new one")
        self._kept.move_to_end(key)
        return kept

    async def _answer(self, image: Callable[[], np.ndarray], request: PromptRequest | None) -> dict[str, Any]:
        covered = self._covered()  # while nothing waits: as the picture is
        async with self._turns.take():
            segmenter, key = self._segmenter(), secrets.token_hex(8)

            def run() -> tuple[_Kept, dict[str, Any]]:
                pixels = image()
                kept = _Kept(segmenter, covered, segmenter.embed(pixels), pixels)
                return kept, _segment(kept, request, key)

            kept, answer = await self._run(run)
            self._keep(key, kept)
            return answer

    def _keep(self, key: str, new: _Kept) -> None:
        """Keep an embedding, and drop the oldest ones, and those of a bundle that runs no more."""
        self._kept[key] = new
        now = new.segmenter, new.covered
        for earlier in [key for key, kept in self._kept.items() if (kept.segmenter, kept.covered) != now]:
            del self._kept[earlier]
        while len(self._kept) > KEPT or (len(self._kept) > 1 and self._kept_pixels() > MAX_KEPT_PIXELS):
            self._kept.popitem(last=False)

    def _kept_pixels(self) -> int:
        return sum(kept.image.shape[0] * kept.image.shape[1] for kept in self._kept.values())

    async def _run(self, function: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, function)
        except (SourceError, UsageError, DependencyError) as error:
            raise HTTPException(422, str(error)) from error
        except NanosegError as error:
            raise HTTPException(503, "the engine failed; the log of the service has the reason") from error

    def _parse(self, text: bytes | None) -> PromptRequest | None:
        if text is None:
            return None
        given = decode_json(text, PromptRequest, "prompts")
        count = max(len(each) for each in (given.boxes or [], given.points or []))
        if count > self._max_prompts:
            raise HTTPException(422, f"prompts: wanted at most {self._max_prompts}, got {count}")
        points = max((len(each or []) for each in given.points or []), default=0)
        if points > MAX_POINTS:
            raise HTTPException(422, f"prompts: wanted at most {MAX_POINTS} points of one object, got {points}")
        try:
            prompts = Prompts.of(boxes=given.boxes, points=given.points, labels=given.labels)
            if not len(prompts):
                raise UsageError("prompts: wanted at least one box or point")
            self._segmenter().check(prompts)
        except NanosegError as error:
            raise HTTPException(422, str(error)) from error
        return given


def _decoded(data: bytes) -> np.ndarray:
    return decode_picture(data, Path("image"), MAX_PIXELS, lambda *_: None)


def _segment(kept: _Kept, given: PromptRequest | None, key: str) -> dict[str, Any]:
    answer = {"embedding": key, "size": list(kept.embedding.geometry.frame_hw), "masks": []}
    if given is not None:
        masks = kept.segmenter.segment(kept.embedding, boxes=given.boxes, points=given.points, labels=given.labels)
        # One after another: the pixels of all together can be more than there is memory for.
        answer["masks"] = [_mask(masks.select(np.array([index])).materialize()) for index in range(len(masks))]
    return answer


def _mask(masks: Masks) -> dict[str, Any]:
    """Return the only mask of `masks` as it is answered."""
    left, top, mask = masks.crop(0)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    xyxy = [0, 0, 0, 0]
    if len(rows):
        xyxy = [left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1]
    return {
        "mask": masks.rle(0),
        "polygons": [polygon.tolist() for polygon in masks.polygons(0, TOLERANCE_PX)],
        "mask_confidence": round(float(masks.confidence[0]), 4),
        "xyxy": [int(edge) for edge in xyxy],
        "area_px": int(np.count_nonzero(mask)),
    }
