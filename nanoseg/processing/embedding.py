"""An image embedded, for prompts to come."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nanoseg.backends.pipeline import EmbeddingHandle, HostEmbedding
from nanoseg.processing.geometry import Geometry


@dataclass(frozen=True, eq=False)
class Embedding:
    """One image as the decoder sees it; it may be kept as long as it is of use.

    On a GPU it stays there, in memory of its own, until the segmenter is closed or nothing holds it any more.
    """

    held: EmbeddingHandle
    geometry: Geometry

    @classmethod
    def of(cls, array: np.ndarray, geometry: Geometry) -> Embedding:
        """One made elsewhere, (1, 256, g, g) float32."""
        return cls(HostEmbedding(array), geometry)

    @property
    def array(self) -> np.ndarray:
        """(1, 256, g, g) float32, on the host."""
        return self.held.array()
