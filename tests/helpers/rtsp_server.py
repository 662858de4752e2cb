"""An RTSP server on loopback for a test, which is skipped where none can be run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import rtsp_server as camera


@contextmanager
def rtsp_server(**options: object) -> Iterator[camera.RtspServer]:
    """Run a server with burnt-in clocks; the options are the fields of RtspServer."""
    if reason := camera.missing():
        pytest.skip(reason)
    with camera.rtsp_server(**options) as server:
        yield server
