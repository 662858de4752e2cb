"""Ctrl-C during long calls into TensorRT."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, TypeVar

from nanoseg.utils.signals import uninterrupted

_POLL_S = 0.2  # between checks whether the work has ended
Result = TypeVar("Result")


def run_interruptible(
    work: Callable[[threading.Event], Result], on_interrupt: Callable[[], None] = lambda: None
) -> Result:
    """Call `work` in another thread and return its result; Ctrl-C sets the event that it is called with.

    Python handles Ctrl-C in the main thread only, and not while that is inside TensorRT; raised in one of TensorRT's
    callbacks, KeyboardInterrupt is lost, because the bindings let no exception through. The first Ctrl-C calls
    `on_interrupt`, and raises KeyboardInterrupt when `work` has ended, whatever it returned. A second one kills the
    process. KeyboardInterrupt by another signal's handler, as SIGTERM's in the command line, stops `work` likewise.
    """
    stop = threading.Event()
    with _ctrl_c(stop), ThreadPoolExecutor(1) as pool:
        try:
            with uninterrupted():
                running = pool.submit(work, stop)
            while wait([running], _POLL_S).not_done:
                if stop.is_set():
                    on_interrupt()
                    wait([running])
        except KeyboardInterrupt:  # of SIGTERM or SIGHUP
            stop.set()
            on_interrupt()
            raise  # the pool waits for the end of `work`
    if stop.is_set():
        raise KeyboardInterrupt
    return running.result()


@contextmanager
def _ctrl_c(stop: threading.Event) -> Iterator[None]:
    """Let the first Ctrl-C set `stop`; the second has the system's default effect."""
    in_main = threading.current_thread() is threading.main_thread()
    previous = signal.getsignal(signal.SIGINT)
    if not in_main or previous is signal.SIG_IGN:  # nohup, a job in the background
        yield
        return

    def request_stop(*_: Any) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    signal.signal(signal.SIGINT, request_stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous or signal.SIG_DFL)
