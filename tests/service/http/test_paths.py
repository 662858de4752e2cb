"""Paths and methods: what each answers, and what others do."""

from __future__ import annotations

import json

import pytest

from nanoseg.errors import EngineError
from nanoseg.service.http.app import PAGE
from nanoseg.service.http.loading import LOADING
from tests.service.http.serving import Serving, check_headers, check_refusal, until
from tests.service.results import a_result

POSTS = {"/segment": {"POST"}, "/sign": {"POST"}, "/bundle": {"POST", "DELETE"}}
GETS = ("/", "/page/page.css", "/healthz", "/readyz", "/metrics", "/openapi.json", "/state", "/stream.mjpg", "/events")


def test_page_and_its_files(served):
    with served.client() as client:
        assert client.get("/").content == (PAGE / "index.html").read_bytes()
        for path in PAGE.iterdir():
            answer = client.get(f"/page/{path.name}")
            check_headers(answer)
            assert answer.content == path.read_bytes()
            assert answer.headers["cache-control"] == "no-cache"
            kind = answer.headers["content-type"].split(";")[0]
            assert kind in ("text/html", "text/css", "text/javascript", "image/svg+xml")


@pytest.mark.parametrize(
    "target",
    ["/page/", "/page", "/page/..%2fapp.py", "/page/%2e%2e", "/page/..", "/page/../app.py", "/page/%2e%2e%2fservice.py",
     "/page/..%5capp.py", "/page/..\\app.py", "/page/index.html%00", "/page/%00", "/page/index.html/",
     "/page//index.html",
     "/page/.", "/page/%2fetc%2fpasswd", "/page//etc/passwd", "/page/index.html%0a", "/page/index.HTML", "/page/%c0%ae",
     "/page/__init__.py", "/page/index.html%20", "/index.html", "/state/", "//", "/%2e/state", "/STATE", "/state%0a",
     "/state%00", "/nothing?source=belt", "http://127.0.0.1/state", "/" + "a" * 5000, "/%ff%fe", "/state;a"],
)  # fmt: skip
def test_path_that_is_unknown(served, target):
    with served.wire() as wire:
        wire.send(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        check_refusal(answer := wire.answer(), 404, served)
        assert len(answer.body) < 200


def test_method_that_is_unknown(served):
    with served.client() as client:
        for path in (*GETS, *POSTS, "/snapshot.jpg"):
            allowed = POSTS.get(path, {"GET", "HEAD"})
            for method in {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"} - allowed:
                answer = client.request(method, path)
                assert set(answer.headers["allow"].split(", ")) == allowed
                if method == "HEAD":
                    assert (answer.status_code, answer.content) == (405, b"")
                    served.lines.clear()
                else:
                    check_refusal(answer, 405, served)


@pytest.mark.parametrize("head", ["CONNECT localhost:80", "OPTIONS *"])
def test_target_that_is_no_path(served, head):
    with served.wire() as wire:
        wire.send(f"{head} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        check_refusal(wire.answer(), 404, served)


def test_upgrade_is_not_taken(served):
    with served.wire() as wire:
        wire.send(b"GET /events HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
        assert wire.line() == b"HTTP/1.1 200 OK\r\n"


def test_head_has_the_headers_of_get_without_its_body(served):
    served.put(a_result())
    with served.client() as client:
        for path in (*GETS, "/snapshot.jpg"):
            head = client.head(path)
            check_headers(head)
            assert (head.status_code, head.content) == (200, b"")
            if path not in ("/stream.mjpg", "/events"):
                got = client.get(path)
                check_headers(got)
                differing = {"date", "content-length"} if path == "/state" else {"date"}
                assert {k: v for k, v in head.headers.items() if k not in differing} == {
                    k: v for k, v in got.headers.items() if k not in differing
                }
    assert served.application.readers == {"stream": 0, "events": 0}


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_says_why_not(path):
    with Serving() as serving, serving.client(headers={"Host": "anything"}) as client:
        assert client.get(path).json() == {"status": "ok"}
        serving.trouble = "no frame"
        answer = client.get(path)
        assert (answer.status_code, answer.json()) == (503, {"status": "no frame"})
        check_headers(answer)


def test_loading_is_told_at_once():
    """Health checks do not wait for engines; nothing else is answered before there is one."""
    with Serving(token="a" * 20, loading=True) as serving, serving.client(headers={}) as client:
        wanted = {"/healthz": (200, {"status": "ok"}), "/readyz": (503, {"status": LOADING})}
        wanted |= dict.fromkeys(("/", "/state", "/nothing"), (503, {"error": LOADING}))
        for path, answered in wanted.items():
            answer = client.get(path)
            assert (answer.status_code, answer.json()) == answered
            assert answer.headers.get("retry-after") == (None if answer.is_success else "5")
            check_headers(answer)
        serving.finish_loading()
        assert [client.get(path).status_code for path in ("/readyz", "/", "/state")] == [200, 200, 401]


@pytest.mark.parametrize(
    ("path", "status"),
    [("/stream.mjpg?source=dock", 404), ("/events?source=dock", 404), ("/snapshot.jpg?source=", 404),
     ("/snapshot.jpg?source=dock", 404), ("/snapshot.jpg?source=packing%20table", 503), ("/snapshot.jpg?frame=0", 410),
     ("/snapshot.jpg?frame=", 410), ("/stream.mjpg?overlay=2", 422), ("/snapshot.jpg?overlay=", 422),
     ("/events?masks=true", 422), ("/events?masks=%00", 422), ("/events?masks=1&masks=-1", 422)],
)  # fmt: skip
def test_query_that_is_invalid(served, path, status):
    with served.client() as client:
        check_refusal(client.get(path), status, served)
    assert served.application.readers == {"stream": 0, "events": 0}


def test_bundle_is_swapped(served):
    with served.client() as client:
        assert client.post("/bundle", json={"bundle": "parts"}).status_code == 202
        assert client.delete("/bundle").json() == {"status": "started", "number": 2}
        assert served.swaps == ["parts", ""]
        served.swaps.clear()
        served.swap_error = "parts is tried already; wait until that has ended"
        for method, body in (("POST", {"bundle": "parts"}), ("DELETE", None)):
            answer = client.request(method, "/bundle", json=body)
            assert check_refusal(answer, 409, served) == served.swap_error
    served.swap_error = ""


def _nested(levels: int) -> bytes:
    return b'{"bundle": ' + b"[" * levels + b"]" * levels + b"}"


@pytest.mark.parametrize("path", ["/sign", "/bundle"])
@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", 422), (b"{}", 422), (b"null", 422), (b"[]", 422), (b'{"bundle": 1, "path": 1}', 422), (b"\xff", 422),
     (b'{"bundle": "x", "path": "/events", "y\\nz": 1}', 422), (b'{"bundle": "\\ud800", "path": "\\ud800"}', 422),
     (b'{"bundle": "", "path": ""}', 422), (b'{"bundle": "\xff\xfe', 422), (_nested(5000), 422), (_nested(10_000), 413),
     (b'"' + b"a" * 16380, 422), (b'{"' + b"a" * 16000 + b'": 1}', 422), (b" " * 16385, 413)],
)  # fmt: skip
def test_json_body_that_is_invalid(served, path, body, status):
    with served.client(headers={"Content-Type": "application/json; charset=utf-8"}) as client:
        check_refusal(client.post(path, content=body), status, served)
    assert not served.swaps


@pytest.mark.parametrize("path", ["/sign", "/bundle"])
def test_json_body_of_another_type(served, path):
    body = json.dumps({"bundle": "x", "path": "/events"}).encode()
    with served.client() as client:
        for kind in ("text/plain", "application/x-www-form-urlencoded", "application/json2", "", "\xff", None):
            headers = {} if kind is None else {"Content-Type": kind.encode("latin-1")}
            check_refusal(client.post(path, content=body, headers=headers), 415, served)


def test_failure_stays_in_the_log():
    with Serving() as serving, serving.client() as client:
        for error in (KeyError("/usr/secret"), EngineError("engine: /usr/secret\nfailed"), RecursionError()):
            serving.state_error = error
            answer = client.get("/state")
            assert answer.status_code == 500
            check_headers(answer)
            assert answer.json() == {"error": "it failed; the log of the service has the reason"}
            until(lambda: serving.lines)
            [line] = serving.lines
            assert line.startswith(f"GET /state: 500 {type(error).__name__}: ")
            assert line.isprintable()
            serving.lines.clear()
