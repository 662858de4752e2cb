"""Coroutines and blocking functions that end when they are cancelled, whatever they wait for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")

_CANCEL_AGAIN_S = 0.1


async def first_to_end(*parts: Coroutine[Any, Any, None]) -> None:
    """Run coroutines side by side until one of them ends; the others are cancelled.

    Raises:
        Exception: what the one that ended raised.
    """
    tasks = {asyncio.ensure_future(part) for part in parts}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        done.pop().result()
    finally:
        # Before Python 3.12 asyncio.wait_for, of which aiomqtt is made, drops a cancellation that comes together with
        # what it waits for.
        while left := {task for task in tasks if not task.done()}:
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=_CANCEL_AGAIN_S)
        for task in tasks:
            if not task.cancelled():
                task.exception()  # else asyncio prints that nobody asked for it


async def in_daemon_thread(function: Callable[[], T]) -> T:
    """Return what a function returns that may block; where this is cancelled, nothing waits for the function any more.

    Not `asyncio.to_thread`, for whose threads Python waits when it ends.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def deliver(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)  # type: ignore[arg-type]
        else:
            future.set_exception(error)

    def run() -> None:
        result, error = None, None
        try:
            result = function()
        except Exception as cause:
            error = cause
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(deliver, result, error)

    threading.Thread(target=run, name="nanoseg-mqtt", daemon=True).start()
    return await future
