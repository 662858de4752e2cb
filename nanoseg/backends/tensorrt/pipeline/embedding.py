"""An embedding in device memory: that of a frame in flight, or a kept copy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nanoseg.backends.cuda.memory import DeviceArray
from nanoseg.backends.cuda.stream import Event
from nanoseg.errors import EngineError


class TrtEmbedding:
    """The memory of an embedding, and the event that says when it is complete."""

    def __init__(
        self,
        memory: DeviceArray,
        ready: Event,
        is_valid: Callable[[], bool],
        download: Callable[[TrtEmbedding], np.ndarray],
    ) -> None:
        """Refer to an embedding.

        Args:
            memory: (1, 256, g, g). A reader waits for `ready` first, and finishes before the slot's next frame.
            ready: Recorded when it is complete.
            is_valid: Returns whether the memory still holds this embedding.
            download: Returns a copy on the host.
        """
        self.memory, self.ready = memory, ready
        self.key = object()  # identifies the content without keeping the memory alive
        self._is_valid, self._download = is_valid, download

    def check(self) -> None:
        """Raise EngineError if a later frame has overwritten it."""
        if not self._is_valid():
            raise EngineError("the frame is over: a later one was started; segmenter.embed(image) keeps its embedding")

    def array(self) -> np.ndarray:
        """Return a copy on the host, (1, 256, g, g) float32."""
        return self._download(self)
