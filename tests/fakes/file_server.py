"""A server of one file on loopback that does what a test tells it to, request by request."""

from __future__ import annotations

import hashlib
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer:
    """`plays` are what the next requests get, each a function of (server, handler); then the file, as it should be."""

    def __init__(self, body):
        self.body = body
        self.plays = []
        self.calls = []  # (path, headers) of each request
        self.over = threading.Event()
        self.url = ""

    @property
    def etag(self):
        return f'"{hashlib.sha256(self.body).hexdigest()[:16]}"'


@contextmanager
def serving(body):
    server = FileServer(body)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            server.calls.append((self.path, dict(self.headers)))
            play = server.plays.pop(0) if server.plays else good
            play(server, self)

        def log_message(self, *_):
            pass

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, *_):
            pass  # whoever was sent too much has hung up

    http = Quiet(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{http.server_port}/file"
    thread = threading.Thread(target=http.serve_forever, args=(0.005,))
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        http.shutdown()
        thread.join()
        http.server_close()


def send(handler, status, headers, body=b""):
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, str(value))
    handler.end_headers()
    handler.wfile.write(body)


def good(server, handler):
    """Ranges, and If-Range, as RFC 9110 has them."""
    body, headers = server.body, {"Content-Type": "application/octet-stream", "ETag": server.etag}
    calls = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
    if not calls or handler.headers.get("If-Range", server.etag) != server.etag:
        send(handler, 200, {**headers, "Content-Length": len(body)}, body)
        return
    start = int(calls[1])
    if start >= len(body):
        send(handler, 416, {"Content-Range": f"bytes */{len(body)}", "Content-Length": 0})
        return
    got = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}", "Content-Length": len(body) - start}
    send(handler, 206, {**headers, **got}, body[start:])


def breaks_at(count, body=None, **headers):
    """Hangs up after so many bytes of the whole."""

    def play(server, handler):
        whole = body or server.body
        got = {"Content-Length": len(whole), "ETag": server.etag, **headers}
        send(handler, 200, {name: value for name, value in got.items() if value is not None}, whole[:count])

    return play


def rest(body=None, **headers):
    """The rest of the file, or of another, whatever If-Range says, with no headers that tell its version but these."""

    def play(server, handler):
        whole, start = body or server.body, int(handler.headers["Range"][6:-1])
        got = {"Content-Range": f"bytes {start}-{len(whole) - 1}/{len(whole)}", "Content-Length": len(whole) - start}
        send(handler, 206, {**got, **headers}, whole[start:])

    return play


def unasked_range(server, handler):
    got = {"Content-Range": f"bytes 0-{len(server.body) - 1}/{len(server.body)}", "ETag": server.etag}
    send(handler, 206, {**got, "Content-Length": len(server.body)}, server.body)


def no_ranges(server, handler):
    send(handler, 200, {"Content-Length": len(server.body)}, server.body)


def says_length(length):
    """Sends the file under a length of its own invention; None says none."""

    def play(server, handler):
        send(handler, 200, {} if length is None else {"Content-Length": length}, server.body)

    return play


def chunked(whole=True):
    def play(server, handler):
        handler.protocol_version = "HTTP/1.1"
        handler.close_connection = True
        send(handler, 200, {"Transfer-Encoding": "chunked"})
        half = len(server.body) // 2
        for piece in (server.body[:half], server.body[half:])[: 2 if whole else 1]:
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        if whole:
            handler.wfile.write(b"0\r\n\r\n")

    return play


def status(code, **headers):
    return lambda server, handler: send(handler, code, {"Content-Length": 0, **headers})


def page(html, kind="text/html; charset=utf-8"):
    text = html.encode()
    return lambda server, handler: send(handler, 200, {"Content-Type": kind, "Content-Length": len(text)}, text)


def redirect(to):
    return status(302, Location=to)


def stalls(server, handler):
    """Sends the headers, one byte, and then nothing until the test is over."""
    send(handler, 200, {"Content-Length": len(server.body), "ETag": server.etag}, server.body[:1])
    server.over.wait(10)


def silent(server, handler):
    server.over.wait(10)
