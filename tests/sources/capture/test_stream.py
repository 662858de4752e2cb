"""Streams over real RTSP on loopback: what is shown, how old it is, and what is said where none comes."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from contextlib import suppress

import pytest

from burnt_clock import read_clock
from nanoseg.errors import SourceError
from nanoseg.sources.camera_url import CameraUrl
from nanoseg.sources.capture.capture import Capture
from rtsp_server import RtspServer
from tests.helpers.rtsp_server import is_smeared, rtsp_server

av = pytest.importorskip("av", reason="needs nanoseg[video]")


def open_url(
    address: str, transport: str = "tcp", timeout_s: float | None = 20.0, max_pixels: int = 1 << 24
) -> Capture:
    from nanoseg.sources.capture.stream import open_stream

    return open_stream(CameraUrl("stream", address, "door", transport=transport, timeout_s=timeout_s), max_pixels)


def read_on(stream: Capture) -> None:
    while True:
        stream.read()


@pytest.mark.parametrize(("codec", "transport"), [("h264", "tcp"), ("h264", "udp"), ("h265", "udp"), ("mjpeg", "tcp")])
def test_stream_gives_whole_frames_with_their_moment(codec: str, transport: str) -> None:
    with rtsp_server(keyframe_s=0.4) as server:
        stream = open_url(server.url(codec), transport)
        errors_ms = []
        # Until sender reports came, which GStreamer sends within seconds.
        deadline = time.monotonic() + 60
        while len(errors_ms) < 10 or stream.clock != "source":
            assert time.monotonic() < deadline
            captured = stream.read()
            burnt_ms = read_clock(captured.image)
            assert burnt_ms is not None
            assert not is_smeared(captured.image)
            assert captured.captured_ns <= time.time_ns()
            errors_ms.append(abs(captured.captured_ns / 1e6 - burnt_ms))
        assert f"RTSP over {transport.upper()}" in stream.description
        assert "640x480" in stream.description
        # A busy machine burns the clock in some time after the frame's moment: the best of some frames is the clock's.
        for _ in range(10):
            captured = stream.read()
            if (burnt_ms := read_clock(captured.image)) is not None:
                errors_ms.append(abs(captured.captured_ns / 1e6 - burnt_ms))
        stream.close()
        assert min(errors_ms[-10:]) < 20


@pytest.mark.slow
@pytest.mark.parametrize("codec", ["h264", "h265", "mjpeg"])
def test_stream_shows_no_smeared_picture_where_packets_are_lost(codec: str) -> None:
    with rtsp_server(keyframe_s=0.4, loss=0.05) as server:
        stream = open_url(server.url(codec), "udp")
        stream.read()
        for _ in range(100):
            captured = stream.read()
            assert read_clock(captured.image) is not None
            assert not is_smeared(captured.image)
        assert stream.damaged
        stream.close()


@pytest.mark.slow
def test_stream_leaves_frames_out_where_this_machine_is_slower_than_the_stream(monkeypatch) -> None:
    from nanoseg.sources.capture import stream as module

    monkeypatch.setattr(module, "_MAX_LAG_S", 0.5)
    with rtsp_server(keyframe_s=0.4) as server:
        stream = open_url(server.url())
        ages_ms = []
        for _ in range(120):
            captured = stream.read()
            time.sleep(0.08)  # twice the time between two frames
            ages_ms.append(time.time_ns() / 1e6 - (read_clock(captured.image) or 0))
        # Without that each frame would be 40 ms older than the one before.
        assert max(ages_ms) < 4000
        assert stream.damaged > 40
        stream.close()


def test_stream_goes_on_with_another_size_and_refuses_a_larger_one_than_allowed() -> None:
    with rtsp_server(size_wh=(320, 240), keyframe_s=0.4) as server:
        stream = open_url(server.url(), max_pixels=400 * 300)
        assert stream.read().image.shape == (240, 320, 3)
        server.command("size 400x300")
        while stream.read().image.shape != (300, 400, 3):
            pass
        server.command("size 640x480")
        with pytest.raises(SourceError, match=r"640 x 480 pixels are more than the limit of 120000"):
            read_on(stream)
        stream.close()


def closed(server: RtspServer) -> None:
    server.command("close-clients")


def killed(server: RtspServer) -> None:
    server.stop()


def stalled(server: RtspServer) -> None:
    server.command("stall")


def stopped(server: RtspServer) -> None:
    os.kill(server.pid, signal.SIGSTOP)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (closed, "the source ended the stream"),
        (killed, "the source ended the stream"),
        (stalled, "no answer in time"),
        pytest.param(stopped, "no answer in time", marks=pytest.mark.slow),
    ],
)
def test_stream_that_is_lost_says_why(fault, words: str) -> None:
    with rtsp_server(keyframe_s=0.4) as server:
        stream = open_url(server.url(), timeout_s=1.0)
        stream.read()
        fault(server)
        with pytest.raises(SourceError, match=f"127.0.0.1:.*{words}"):
            read_on(stream)
        stream.close()


@pytest.mark.parametrize("auth", ["basic", "digest"])
def test_stream_with_a_password(auth: str) -> None:
    with rtsp_server(user="me", password="s3 /@:", auth=auth, keyframe_s=0.4, max_sessions=1) as server:
        with pytest.raises(SourceError, match="wrong user or password") as wrong:
            open_url(server.url(password="s3cret"))
        assert "s3cret" not in str(wrong.value)
        with pytest.raises(SourceError, match="no such stream"):
            open_url(server.url("none"))
        stream = open_url(server.url())
        stream.read()
        with pytest.raises(SourceError, match="busy: the source refuses another session"):
            open_url(server.url())
        stream.close()


def serve_once(answer: bytes) -> str:
    """Answer one connection so, and return the address; keep it open where the answer is empty."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with suppress(OSError), listener, listener.accept()[0] as connection:
            connection.recv(4096)
            connection.sendall(answer)
            if answer:
                connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass

    threading.Thread(target=accept, daemon=True).start()
    return f"127.0.0.1:{listener.getsockname()[1]}"


def page(content: bytes, kind: bytes = b"text/html") -> bytes:
    return b"HTTP/1.0 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s" % (kind, len(content), content)


HLS = page(
    b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/a.ts\n#EXT-X-ENDLIST\n",
    b"application/vnd.apple.mpegurl",
)


@pytest.mark.parametrize(
    ("scheme", "answer", "words"),
    [
        ("rtsp", b"", "no answer in time"),
        ("http", b"", "no answer in time"),
        ("rtsp", b"RTSP/1.0 453 Not Enough Bandwidth\r\nCSeq: 1\r\n\r\n", "busy"),
        ("rtsp", b"RTSP/1.0 500 Internal Server Error\r\nCSeq: 1\r\n\r\n", "an error of its own"),
        ("rtsps", b"RTSP/1.0 400 Bad Request\r\n\r\n", "TLS connection failed"),
        ("https", b"HTTP/1.0 400 Bad Request\r\n\r\n", "TLS connection failed"),
        ("http", b"HTTP/1.0 403 Forbidden\r\n\r\n", "access is forbidden"),
        ("http", b"HTTP/1.0 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n", "not allowed for a stream|refused"),
        ("http", page(b"<html>Welcome</html>"), "no stream of a known kind"),
        ("http", b"HTTP/1.0 200 OK\r\n\r\n<html>", "the source ended the stream"),
        ("http", page(b"ffconcat version 1.0\nfile /etc/passwd\n"), "not allowed for a stream"),
        ("http", HLS, "not allowed for a stream"),
    ],
)
def test_stream_that_cannot_be_opened_says_why(scheme: str, answer: bytes, words: str) -> None:
    with pytest.raises(SourceError, match=words) as refused:
        open_url(f"{scheme}://me:s3cret@{serve_once(answer)}/live?loginpas=s3cret&s3cret", timeout_s=1.0)
    assert "s3cret" not in str(refused.value)


def test_stream_of_a_closed_port_or_an_unknown_host_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(SourceError, match="connection refused"):
        open_url(f"rtsp://127.0.0.1:{port}/live")
    with pytest.raises(SourceError, match="host's name is not known"):
        open_url("rtsp://no-such-host.invalid/live")
