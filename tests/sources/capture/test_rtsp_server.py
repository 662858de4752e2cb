"""The camera that the tests of streams read: its burnt-in clock, and what it does on command."""

from __future__ import annotations

import subprocess
import time

import numpy as np
import pytest

from burnt_clock import draw_clock, read_clock
from tests.helpers.rtsp_server import rtsp_server

cv2 = pytest.importorskip("cv2", reason="needs nanoseg[opencv]")
NOW_MS = 1_796_000_000_123


@pytest.mark.parametrize("width", [160, 320, 641, 1920])
def test_burnt_clock_survives_coding_and_shows_damage(width: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (width // 2, width, 3), np.uint8)
    assert read_clock(image) is None
    draw_clock(image, NOW_MS)
    coded = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_COLOR)
    assert read_clock(coded) == read_clock(coded[..., 1]) == NOW_MS
    coded[:, : width // 32] = 255 - coded[:, : width // 32]
    assert read_clock(coded) is None


def test_rtsp_server_comes_back_on_its_port_and_ends() -> None:
    with rtsp_server() as server:
        first = server.pid, server.url(user="me", password="a/b@c")
        server.stop()
        server.start()
        assert server.url(user="me", password="a/b@c") == first[1]
        assert "//me:a%2Fb%40c@127.0.0.1:" in first[1]
        second = server.pid
    for pid in (first[0], second):
        deadline = time.monotonic() + 60
        while subprocess.run(["kill", "-0", str(pid)], capture_output=True).returncode == 0:
            assert time.monotonic() < deadline
            time.sleep(0.05)
