"""Motion JPEG: who shares a picture, who gets which, and how a stream ends."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack, contextmanager

import cv2
import numpy as np
import pytest

from nanoseg.service import pictures
from nanoseg.service.http import connection
from tests.service.http.serving import HEADERS, Serving, Wire, check_headers, check_refusal, until
from tests.service.results import a_result

FAST = {"stream_fps": 120.0}


class Stream:
    """A reader of /stream.mjpg."""

    def __init__(self, wire: Wire, query: str = "", head: str = "") -> None:
        self.wire = wire
        wire.send(f"GET /stream.mjpg{query} HTTP/1.1\r\nHost: localhost\r\n{head}\r\n".encode())
        self.status = wire.line()
        self.headers = dict(line.split(": ", 1) for line in iter(lambda: wire.line().decode().strip().lower(), ""))
        self._rest = b""

    def _line(self) -> bytes:
        while b"\r\n" not in self._rest:
            self._rest += self._chunk()
        line, _, self._rest = self._rest.partition(b"\r\n")
        return line

    def _chunk(self) -> bytes:
        size = int(self.wire.line(), 16)
        data = self.wire.read(size)
        self.wire.line()
        if not size:
            raise EOFError
        return data

    def picture(self) -> np.ndarray:
        """Read one part."""
        assert self._line() == b"--frame"
        head = dict(line.split(b": ") for line in iter(self._line, b""))
        assert head[b"Content-Type"] == b"image/jpeg"
        size = int(head[b"Content-Length"])
        while len(self._rest) < size + 2:
            self._rest += self._chunk()
        jpeg, self._rest = self._rest[:size], self._rest[size + 2 :]
        return cv2.imdecode(np.frombuffer(jpeg, np.uint8), 1)

    def shade(self) -> int:
        """Read one part, and return its grey."""
        return int(np.median(self.picture()))


@contextmanager
def streams(serving: Serving, *queries: str):
    """Open streams."""
    with ExitStack() as stack:
        before = serving.application.readers["stream"]
        opened = [Stream(stack.enter_context(serving.wire()), query) for query in queries]
        until(lambda: serving.application.readers["stream"] == before + len(queries))
        yield opened


@pytest.fixture
def encodes(monkeypatch):
    """What is encoded."""
    encoded, encode = [], pictures.encode_jpeg

    def counted(image):
        encoded.append(int(np.median(image)))
        return encode(image)

    monkeypatch.setattr(pictures, "encode_jpeg", counted)
    return encoded


def test_readers_share_one_jpeg_and_without_a_reader_none_is_made(encodes):
    with Serving(**FAST) as serving:
        for shade in range(0, 50, 10):
            serving.put(a_result(shade=shade))
        assert not encodes
        with streams(serving, "", "", "?source=belt&overlay=1") as readers:
            assert [reader.shade() for reader in readers] == [40] * 3
            assert (encodes, serving.drawn) == ([40], 1)
            for reader in readers:
                assert reader.headers["content-type"] == "multipart/x-mixed-replace; boundary=frame"
                for name, value in HEADERS:
                    assert reader.headers[name.decode()] == value.decode().lower()
                assert reader.headers["cache-control"] == "no-store"
            for shade in (60, 80, 100):
                serving.put(a_result(shade=shade))
                assert [reader.shade() for reader in readers] == [shade] * 3
            assert (encodes, serving.drawn) == ([40, 60, 80, 100], 4)
            with streams(serving, "?overlay=0") as [plain]:
                assert plain.shade() == 100
            assert (encodes, serving.drawn) == ([40, 60, 80, 100, 100], 4)
        until(lambda: serving.application.readers["stream"] == 0)
        serving.put(a_result(shade=120))
        assert len(encodes) == 5
        assert not serving.lines


def test_stream_has_the_pictures_of_its_camera():
    with Serving(**FAST) as serving, streams(serving, "?source=packing%20table", "?source=belt") as (table, belt):
        serving.put(a_result(shade=10))
        serving.put(a_result(source="packing table", shade=200))
        assert (table.shade(), belt.shade()) == (200, 10)


def test_stream_gives_the_newest_picture_at_its_rate():
    with Serving(stream_fps=2.0) as serving, streams(serving, "") as [reader]:
        serving.put(a_result(shade=1))
        assert reader.shade() == 1
        for shade in range(10, 60, 10):
            serving.put(a_result(shade=shade))
        assert reader.shade() == 50


def noise(index: int, shade: int = 0):
    """Return a result whose JPEG is large."""
    result = a_result(index, size_hw=(480, 640))
    result.frame.image[:] = np.random.default_rng(index).integers(0, 255, (480, 640, 3), np.uint8)
    result.frame.image[:8] = shade
    return result


def test_reader_that_never_reads_is_left_and_delays_no_other(monkeypatch):
    monkeypatch.setattr(connection, "STALL_S", 0.3)
    with Serving(**FAST) as serving, Wire(serving.port, receive_bytes=4096) as lazy:
        lazy.send(b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until(lambda: serving.application.readers["stream"] == 1)
        with streams(serving, "") as [reader]:
            for index in range(1000):
                serving.put(noise(index))
                reader.picture()
                if serving.application.readers["stream"] == 1:
                    break
                time.sleep(0.005)
            assert serving.lines == ["a reader has not taken what was sent within 0.3 s and is left"]
            serving.put(noise(0))
            reader.picture()


def test_reader_that_was_slow_gets_the_newest_picture_soon():
    """What waits for it in the system is bounded, so that pictures are not seconds old."""
    with Serving(**FAST) as serving, Wire(serving.port, receive_bytes=1 << 16) as wire:
        reader = Stream(wire)
        until(lambda: serving.application.readers["stream"] == 1)
        [its] = serving.server._server.server_state.connections
        index = 0
        while not its.flow.write_paused:
            serving.put(noise(index))
            index += 1
            until(lambda: its.flow.write_paused or serving.pictures._waiters)
        serving.put(noise(index, 250))
        shades = iter(lambda: int(np.median(reader.picture()[:4])) // 10, 25)
        assert len(list(shades)) < 4


def test_reader_that_leaves_frees_its_place():
    with Serving(max_streams=2, **FAST) as serving:
        serving.put(a_result())
        for _ in range(3):
            with streams(serving, "", ""):
                pass
            until(lambda: serving.application.readers["stream"] == 0)
        with streams(serving, "", "") as [reader, _]:
            assert reader.shade() == 0
            with serving.client() as client:
                for path in ("/stream.mjpg", "/events"):
                    answer = client.get(path)
                    check_refusal(answer, 503, serving)
                    assert answer.headers["retry-after"]
                assert client.get("/snapshot.jpg").status_code == 200
        until(lambda: serving.application.readers["stream"] == 0)


@pytest.mark.parametrize(
    "more",
    [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET / HT", b"\x00" * 100_000],
    ids=["request", "half", "noise"],
)
def test_reader_that_says_more_is_still_seen_to_leave(more):
    """No picture comes, so that nothing is sent that would show that it has left."""
    with Serving() as serving:
        with serving.wire() as wire:
            wire.send(b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n" + more[:50])
            until(lambda: serving.application.readers["stream"] == 1)
            wire.send(more)
        until(lambda: serving.application.readers["stream"] == 0)
        assert not serving.lines


@pytest.mark.parametrize("body", ["Content-Length: 5", "Transfer-Encoding: chunked"])
def test_stream_with_a_body(body):
    with Serving(**FAST) as serving:
        serving.put(a_result(shade=30))
        with serving.wire() as wire:
            reader = Stream(wire, head=f"{body}\r\n")
            assert reader.shade() == 30
            wire.send(b"5\r\nhello\r\n0\r\n\r\n" if "chunked" in body else b"hello")
            serving.put(a_result(shade=60))
            assert reader.shade() == 60


def test_close_ends_all_streams_at_once():
    with Serving(max_streams=8, **FAST) as serving, streams(serving, *[""] * 4) as readers, serving.wire() as events:
        events.send(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until(lambda: serving.application.readers["events"] == 1)
        threads = [threading.Thread(target=reader.wire.ended) for reader in readers]
        for thread in threads:
            thread.start()
        serving.server.close()
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()
        events.ended()
        assert serving.application.readers == {"stream": 0, "events": 0}
        assert not serving.server._thread.is_alive()
        assert not serving.lines


def test_failure_of_a_stream_is_told(encodes, monkeypatch):
    def fails(_):
        raise ValueError("a picture of /usr could not be encoded")

    monkeypatch.setattr(pictures, "encode_jpeg", fails)
    with Serving(**FAST) as serving, streams(serving, "") as [reader]:
        serving.put(a_result())
        reader.wire.ended()
        until(lambda: serving.application.readers["stream"] == 0)
        until(lambda: serving.lines)
        assert serving.lines == ["GET /stream.mjpg: 500 ValueError: a picture of /usr could not be encoded"]


def test_snapshot_is_the_same_jpeg(encodes):
    with Serving() as serving, serving.client() as client:
        serving.put(a_result(shade=70))
        answers = [client.get("/snapshot.jpg", params=query) for query in ({}, {"source": "belt"}, {"overlay": "1"})]
        assert len({answer.content for answer in answers}) == 1
        assert (encodes, serving.drawn) == ([70], 1)
        check_headers(answers[0])
        assert client.get("/snapshot.jpg?overlay=0").status_code == 200
        assert serving.drawn == 1
