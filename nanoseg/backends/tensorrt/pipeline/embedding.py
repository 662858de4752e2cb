"""An embedding on the GPU: that of a frame on its way, or one that was kept."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nanoseg.backends.cuda.memory import DeviceArray
from nanoseg.backends.cuda.stream import Event
from nanoseg.errors import EngineError


class TrtEmbedding:
    """Where it lies, and when."""

    def __init__(
        self,
        lies: DeviceArray,
        ready: Event,
        is_there: Callable[[], bool],
        fetch: Callable[[TrtEmbedding], np.ndarray],
    ) -> None:
        """Whoever reads it waits for `ready` before, and on the host for having read it before a frame is started."""
        self.lies, self.ready = lies, ready
        self.key = object()  # of what it holds: to be remembered without keeping the memory
        self._is_there, self._fetch = is_there, fetch

    def check(self) -> None:
        """Raise EngineError where another frame's is in its place."""
        if not self._is_there():
            raise EngineError("the frame is over: a later one was started; segmenter.embed(image) keeps its embedding")

    def array(self) -> np.ndarray:
        return self._fetch(self)
