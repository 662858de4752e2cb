"""Streams over HTTP on loopback: motion JPEG as cameras really send it, and MPEG-TS."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest

from burnt_clock import read_clock
from nanoseg.errors import SourceError
from nanoseg.sources.camera_url import CameraUrl
from nanoseg.sources.capture.capture import Capture
from tests.helpers.http_streams import Parts, http_stream, mpegts

pytest.importorskip("av", reason="needs nanoseg[video]")
pytest.importorskip("cv2", reason="needs nanoseg[opencv]")


def open_url(address: str) -> Capture:
    from nanoseg.sources.capture.stream import open_stream

    return open_stream(CameraUrl("stream", address, "door", timeout_s=20.0), 1 << 24)


def read_on(stream: Capture) -> None:
    while True:
        stream.read()


PARTS = {
    "well made": Parts(),
    "without lengths": Parts(with_length=False),
    "dashes in the header": Parts("multipart/x-mixed-replace; boundary=--frame"),
    "quoted": Parts('multipart/x-mixed-replace;boundary="frame"'),
    "no dashes in the body": Parts(delimiter=b"frame"),
    "another boundary": Parts(delimiter=b"--other"),
    "no boundary in the header": Parts("multipart/x-mixed-replace"),
}


@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
def test_http_motion_jpeg_is_read(parts: Parts) -> None:
    with http_stream(parts.content_type, parts) as address:
        stream = open_url(address)
        for _ in range(5):
            captured = stream.read()
            burnt_ms = read_clock(captured.image)
            assert burnt_ms is not None
            assert burnt_ms <= captured.captured_ns / 1e6 <= time.time_ns() / 1e6
        assert captured.media_ns is None
        assert stream.damaged == 0
        assert stream.clock == "arrival"
        assert "320x240 mjpeg" in stream.description
        stream.close()


def test_http_motion_jpeg_that_is_cut_is_not_shown_and_counted() -> None:
    parts = Parts(cut_every=3)
    with http_stream(parts.content_type, parts) as address:
        stream = open_url(address)
        greys = [int(stream.read().image[200, 100, 0]) for _ in range(9)]
        assert all(abs(grey - 60 - index - index // 2) <= 2 for index, grey in enumerate(greys))
        assert stream.damaged in (4, 5)
        stream.close()


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
def test_http_mpegts_is_read_in_order_and_ends(codec: str) -> None:
    with http_stream("video/mp2t", lambda: mpegts(codec, 60)) as address:
        stream = open_url(address)
        frames = [stream.read() for _ in range(20)]
        clocks = [read_clock(frame.image) for frame in frames]
        assert None not in clocks
        assert clocks == sorted(set(clocks))
        assert {frame.media_ns - before.media_ns for before, frame in pairwise(frames)} == {40_000_000}
        with pytest.raises(SourceError, match="the source ended the stream"):
            read_on(stream)
        stream.close()
