"""The embedding of an image, kept for any number of prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from nanoseg.errors import UsageError
from nanoseg.processing.geometry import Geometry


class EmbeddingHandle(Protocol):
    """An embedding that a pipeline keeps on its device."""

    def array(self) -> np.ndarray:
        """Return a copy on the host, (1, 256, g, g) float32.

        Raises:
            EngineError: Where a later frame, or close(), took its memory.
        """


@dataclass(frozen=True, eq=False, repr=False)
class Embedding:
    """The encoder's output for one image, for any number of prompts; it stays valid after later frames.

    On a GPU it has its own device memory, which is freed with the last reference to it or when the segmenter is closed.
    """

    handle: np.ndarray | EmbeddingHandle  # an array on the host, or an embedding in device memory
    geometry: Geometry

    @classmethod
    def of(cls, array: np.ndarray, geometry: Geometry) -> Embedding:
        """Wrap an embedding that was computed elsewhere, (1, 256, g, g) float32."""
        return cls(array, geometry)

    @property
    def array(self) -> np.ndarray:
        """The embedding on the host, (1, 256, g, g) float32."""
        return on_host(self.handle)

    def __repr__(self) -> str:
        height, width = self.geometry.frame_hw
        return f"Embedding(of a {width}x{height} frame)"


def on_host(handle: np.ndarray | EmbeddingHandle) -> np.ndarray:
    """Return an embedding as an array of the host, copied from its device where it lies on one."""
    return handle if isinstance(handle, np.ndarray) else handle.array()


def check_embedding(embedding: object) -> None:
    """Raise UsageError for anything but an Embedding."""
    if not isinstance(embedding, Embedding):
        got = type(embedding).__name__
        raise UsageError(f"segment: wanted an Embedding, got {got}; call segmenter.embed(image) first")
