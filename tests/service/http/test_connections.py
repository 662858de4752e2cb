"""Connections: heads and bodies that come late, in pieces, in excess or never, and those that do not read."""

from __future__ import annotations

from contextlib import ExitStack
from types import SimpleNamespace

import pytest
from uvicorn.protocols.http.flow_control import FlowControl

from nanoseg.service.http import connection, guard
from tests.service.http.serving import Serving, Wire, check_headers, check_refusal, until

GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /sign HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
BODY = b'{"path": "/events"}'


def test_keep_alive_and_pipelined_requests(served):
    with served.wire() as wire:
        for _ in range(3):
            wire.send(GET)
            assert wire.answer().status == 200
        wire.send(
            GET + POST + b"Content-Length: 19\r\n\r\n" + BODY + b"GET /no HTTP/1.1\r\nHost: localhost\r\n\r\n" + GET[:9]
        )
        assert wire.answer().json() == {"status": "ok"}
        assert wire.answer().json()["url"].startswith("/events?")
        check_refusal(wire.answer(), 404, served)
        wire.send(GET[9:])
        answer = wire.answer()
        assert answer.status == 200
        check_headers(answer)
        wire.send(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert wire.answer().status == 200
        assert wire.ended()


def test_bytes_one_by_one_are_a_request(served):
    with served.wire() as wire:
        for byte in (
            POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\n" + BODY[:5] + b"\r\ne\r\n" + BODY[5:] + b"\r\n0\r\n\r\n"
        ):
            wire.send(bytes([byte]))
        assert wire.answer().status == 200


def test_expectation_is_met_where_the_body_is_wanted(served):
    with served.wire() as wire:
        wire.send(POST + b"Content-Length: 19\r\nExpect: 100-continue\r\n\r\n")
        assert wire.line().startswith(b"HTTP/1.1 100 ")
        assert wire.line() == b"\r\n"
        wire.send(BODY)
        assert wire.answer().status == 200
    with served.wire() as wire:
        wire.send(POST + b"Content-Length: 999999999\r\nExpect: 100-continue\r\n\r\n")
        check_refusal(wire.answer(), 413, served)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"\r\n\r\n\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(300), 400),
        (b"GET\r\n\r\n", 400),
        (b"GET / state HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nno header\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: \x00\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX : 1\r\n\r\n", 400),
        (POST + b"Content-Length: -1\r\n\r\n", 400),
        (POST + b"Content-Length: x\r\n\r\n", 400),
        (POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 20_000, 431),
        (b"GET /" + b"a" * 20_000, 431),
        (b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * 5000, 431),
    ],
)
def test_what_is_no_request(served, request_, status):
    with served.wire() as wire:
        wire.send(request_)
        check_refusal(wire.answer(), status, served)
        assert wire.ended()


@pytest.fixture
def strict():
    """A server that takes bodies of up to 1 kB."""
    with Serving(max_body_mb=0.001) as serving:
        yield serving
        assert not serving.lines


@pytest.mark.parametrize("path", [b"/segment", b"/sign", b"/bundle"])
def test_body_that_is_too_large(strict, path):
    form = b"Content-Type: multipart/form-data; boundary=b\r\n"
    head = POST.replace(b"/sign", path)
    if path == b"/segment":
        head = head.replace(b"Content-Type: application/json\r\n", form)
    with strict.wire() as wire:
        wire.send(head + b"Content-Length: 1001\r\n\r\n")
        check_refusal(wire.answer(), 413, strict)
    with strict.wire() as wire:
        wire.send(head + b"Content-Length: 99999999999999999999\r\n\r\n")
        check_refusal(wire.answer(), 413, strict)
    with strict.wire() as wire:
        wire.send(head + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(2):
            wire.send(b"1f4\r\n" + b"-" * 500 + b"\r\n")
        if path == b"/segment":
            assert wire.answer().status == 400, "of the form, which is none"
            strict.lines.clear()
            return
        wire.send(b"1\r\n-\r\n")
        check_refusal(wire.answer(), 413, strict)


HALF = (b"Content-Length: 100\r\n\r\n" + BODY, b"Transfer-Encoding: chunked\r\n\r\n5\r\nabc")


@pytest.mark.parametrize("framing", HALF)
def test_body_that_does_not_come(framing, monkeypatch):
    monkeypatch.setattr(guard, "BODY_S", 0.05)
    form = POST.replace(b"/sign", b"/segment").replace(b"application/json", b"multipart/form-data; boundary=abcdef")
    with Serving() as serving:
        for head, start in ((POST, BODY[:3]), (form, b"--a")):
            with serving.wire() as wire:
                wire.send(head + framing.replace(BODY, start).replace(b"abc", start))
                check_refusal(wire.answer(), 408, serving)


def test_body_that_ends_within(served):
    for framing in HALF:
        with served.wire() as wire:
            wire.send(POST + framing)
        until(lambda: served.lines)
        assert served.lines == ["POST /sign: 400 the connection has ended within the body"]
        served.lines.clear()


def test_body_that_is_no_body(served):
    with served.wire() as wire:
        wire.send(POST + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n")
        answer = wire.answer()
        assert answer.status == 400
        check_headers(answer)
        assert wire.ended()
    until(lambda: served.lines)
    assert served.lines == ["POST /sign: 400 the connection has ended within the body"]
    served.lines.clear()


@pytest.mark.parametrize("before", [b"", GET])
def test_head_that_does_not_come(before, monkeypatch):
    monkeypatch.setattr(connection, "HEAD_S", 0.05)
    with Serving() as serving, serving.wire() as wire:
        wire.send(before)
        if before:
            assert wire.answer().status == 200
        wire.send(GET[:20])
        check_refusal(wire.answer(), 408, serving)
        assert wire.ended()


def test_slow_head_gets_no_more_time_by_each_byte(monkeypatch):
    monkeypatch.setattr(connection, "HEAD_S", 0.2)
    with Serving() as serving, serving.wire() as wire:
        wire.socket.settimeout(0.01)
        received = b""
        for byte in b"GET / HTTP/1.1\r\nX: " + b"a" * 5000:  # 50 s of them
            wire.send(bytes([byte]))
            try:
                received = wire.socket.recv(1 << 16)
                break
            except TimeoutError:
                continue
        assert received.startswith(b"HTTP/1.1 408 ")
        assert len(serving.lines) == 1


def test_connection_without_a_request_is_closed_silently(monkeypatch):
    monkeypatch.setattr(connection, "HEAD_S", 0.05)
    with Serving() as serving, serving.wire() as wire:
        assert wire.ended()
        assert not serving.lines


def test_rest_of_a_refused_body_is_not_awaited_for_ever(monkeypatch):
    monkeypatch.setattr(connection, "HEAD_S", 0.05)
    with Serving() as serving, serving.wire() as wire:
        wire.send(POST + b"Content-Length: 99999999\r\n\r\n")
        check_refusal(wire.answer(), 413, serving)
        wire.send(b"a")
        assert wire.ended()
        assert not serving.lines


def test_reader_that_takes_nothing_is_left(monkeypatch):
    """Of plain answers: requests are pipelined until what is sent fits nowhere."""
    monkeypatch.setattr(connection, "STALL_S", 0.1)
    with Serving() as serving, Wire(serving.port, receive_bytes=4096) as wire, serving.client() as client:
        wire.socket.setblocking(False)
        with pytest.raises(ConnectionError):  # noqa: PT012
            while True:
                try:
                    wire.send(GET.replace(b"healthz", b"openapi.json") * 20)
                except BlockingIOError:
                    assert client.get("/healthz").status_code == 200
        assert serving.lines == ["a reader has not taken what was sent within 0.1 s and is left"]


@pytest.mark.parametrize(
    ("waiting", "left"), [([900, 800, 300, 300], True), ([900, 900], True), ([900, 200, 0], False)]
)
def test_reader_that_takes_something_is_not_left(waiting, left):
    """However long it takes for all of it; `waiting` are bytes, STALL_S apart."""
    told, due, sizes = [], [], iter(waiting)
    slow = object.__new__(connection.Connection)
    slow.loop = SimpleNamespace(call_later=lambda _, *call: due.append(call) or SimpleNamespace(cancel=due.clear))
    slow.transport = SimpleNamespace(get_write_buffer_size=lambda: size, abort=lambda: told.append("aborted"))
    slow.flow, slow._told, size = FlowControl(slow.transport), told.append, next(sizes)
    slow.pause_writing()
    for size in sizes:
        if not size:
            slow.resume_writing()
            break
        look, *arguments = due.pop()
        look(*arguments)
    assert (len(told) == 2, "aborted" in told, bool(due)) == (left, left, False)


def test_close_ends_idle_and_half_open_connections():
    with Serving() as serving, ExitStack() as stack:
        wires = [stack.enter_context(serving.wire()) for _ in range(4)]
        wires[1].send(GET)
        assert wires[1].answer().status == 200
        wires[2].send(GET[:9])
        wires[3].send(POST + b"Content-Length: 19\r\n\r\n")
        until(lambda: len(serving.server._server.server_state.connections) == 4)
        serving.server.close()
        assert not serving.server._thread.is_alive()
        assert all(wire.ended() or index == 3 for index, wire in enumerate(wires))
