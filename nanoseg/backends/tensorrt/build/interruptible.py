"""Long work inside TensorRT that Ctrl-C ends, and ends cleanly."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, TypeVar

_LOOK_S = 0.2  # between looks whether the work has ended
Result = TypeVar("Result")


def stoppable(work: Callable[[threading.Event], Result], stopping: Callable[[], None] = lambda: None) -> Result:
    """What `work` gives, called in another thread with the event that Ctrl-C sets.

    Python hears Ctrl-C in the main thread alone, and not while that is inside TensorRT; heard in one of TensorRT's
    callbacks, it is lost, because the bindings let no exception through. The first Ctrl-C calls `stopping`, and raises
    KeyboardInterrupt when `work` has ended, whatever it gave. A second one kills the process.
    """
    stop = threading.Event()
    with _ctrl_c(stop), ThreadPoolExecutor(1) as pool:
        running = pool.submit(work, stop)
        while wait([running], _LOOK_S).not_done:
            if stop.is_set():
                stopping()
                wait([running])
    if stop.is_set():
        raise KeyboardInterrupt
    return running.result()


@contextmanager
def _ctrl_c(stop: threading.Event) -> Iterator[None]:
    """Let the first Ctrl-C set `stop`, and the second do what the system does by itself."""
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT)
    if not in_main or before is signal.SIG_IGN:  # nohup, a job in the background
        yield
        return

    def ask(*_: Any) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)
