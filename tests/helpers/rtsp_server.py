"""An RTSP server on loopback for a test, which is skipped where none can be run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

import rtsp_server as camera


@contextmanager
def rtsp_server(**options: object) -> Iterator[camera.RtspServer]:
    """Run a server with burnt-in clocks; the options are the fields of RtspServer."""
    if reason := camera.missing():
        pytest.skip(reason)
    with camera.rtsp_server(**options) as server:
        yield server


def is_smeared(image: np.ndarray) -> bool:
    """Return whether a frame of the server shows more than the grating, the square and the clock.

    Args:
        image: (H, W, 3) uint8, upright.
    """
    height, width = image.shape[:2]
    y, x = np.indices((height, width))
    grating = (96 + (x // 16 + y // 16) % 8 * 8 - 16) * 255 / 219
    other = abs(image[..., 1] - grating) > 24
    other[: width // 32 * 2] = False
    side = height // 4
    band = other[height // 2 : height // 2 + side]
    columns = np.flatnonzero(band.sum(axis=0) > 2)
    beside_square = bool(columns.size) and columns[-1] - columns[0] + 1 > side + 16
    return beside_square or int(other.sum() - band.sum()) > 60
