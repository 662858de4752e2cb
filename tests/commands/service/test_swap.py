"""`nanoseg service swap` with a service whose answers a test writes."""

import http.server
import json
import threading
from pathlib import Path

import pytest

from nanoseg.commands.service import swap as swap_module
from nanoseg.commands.service.client import Client
from nanoseg.errors import UsageError

LOADING = {"number": 3, "state": "loading", "bundle": "night", "reason": "", "memory_mb": 180}
SHADOW = LOADING | {"state": "shadow", "frames": 40, "frames_wanted": 100, "agreement": 0.95}
PASSED = SHADOW | {
    "state": "watching",
    "frames": 100,
    "lowest_agreement": 0.91,
    "lowest_agreement_of": "class gear",
    "latency": 1.04,
    "latency_ms": 31.5,
}
REFUSED = SHADOW | {"state": "refused", "reason": "its masks agree with the running bundle's by 0.02; wanted 0.7"}
TOKEN = "0123456789abcdef"


@pytest.fixture
def service(monkeypatch, tmp_path):
    """A service that gives `.states` in turn, and keeps what it was asked."""
    monkeypatch.setattr(swap_module, "_POLL_S", 0)

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self, status, body):
            self.send_response(status)
            self.send_header("Location", "http://127.0.0.1:1/")
            self.end_headers()
            self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

        def do_GET(self):
            state = server.states[0] if len(server.states) == 1 else server.states.pop(0)
            self.answer(200, {"swap": state})

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            server.asked.append((self.command, self.path, body.decode(), self.headers.get("Authorization")))
            self.answer(*server.started)

        def do_DELETE(self):
            self.do_POST()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.states, server.asked, server.started = [], [], (202, {"status": "started", "number": 3})
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    server.words = ("--url", server.url, "--config", tmp_path / "nanoseg.toml")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_swap_prints_the_figures(call, service):
    service.states = [LOADING, LOADING, SHADOW, SHADOW, PASSED]
    code, out, err = call("service", "swap", "night", *service.words)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "night: swapped in; should it fail in its first minutes, the bundle before runs again",
        "  frames            100 of 100",
        "  agreement         0.95",
        "  lowest_agreement  0.91, of class gear",
        "  latency           1.04 times the running bundle's, 31.5 ms",
        "  memory            180 MB",
    ]
    assert service.asked == [("POST", "/bundle", '{"bundle":"night"}', None)]


def test_swap_that_is_refused(call, service):
    service.states = [SHADOW, REFUSED]
    code, out, err = call("service", "swap", "night", *service.words)
    assert code == 4
    assert out.splitlines()[:3] == ["night: refused", f"  why        {REFUSED['reason']}", "  frames     40 of 100"]
    assert err == f"nanoseg: error: night: refused: {REFUSED['reason']}\n"


@pytest.mark.parametrize(
    ("words", "state", "code"),
    [
        (["night"], PASSED, 0),
        (["night"], PASSED | {"state": "swapped"}, 0),
        (["night"], REFUSED, 4),
        (["night"], PASSED | {"state": "reverted", "reason": "the engine fails"}, 4),
        (["night"], SHADOW | {"state": "cancelled", "reason": "it was called off"}, 4),
        (["night"], LOADING | {"state": "refused", "reason": "night: no such bundle"}, 4),
        (["--undo"], LOADING | {"state": "undone"}, 0),
        (["--undo"], LOADING | {"state": "refused", "reason": "night: no such bundle"}, 4),
        (["--undo"], SHADOW | {"state": "cancelled", "reason": "it was called off"}, 0),
        (["night"], LOADING | {"number": 0, "state": "idle"}, 2),  # the service was restarted
        (["night"], LOADING | {"number": 4}, 2),  # another swap has begun
    ],
)
def test_swap_exit_code(call, service, words, state, code):
    service.states = [state]
    assert call("service", "swap", *words, *service.words)[0] == code
    assert service.asked[0][:2] == (("DELETE" if words == ["--undo"] else "POST"), "/bundle")
    done, out, _ = call("service", "swap", *words, "--json", *service.words)
    assert done == code
    if code != 2:
        assert json.loads(out) == state


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((409, {"error": "day is tried already; wait until that has ended"}), "day is tried already"),
        ((401, {"error": "wanted the bearer token"}), "the service wants its token: --token-file FILE"),
        ((500, b"<html>"), "/bundle: wanted JSON, got 500 Internal Server Error"),
        ((307, {}), "Temporary Redirect"),  # whoever that is, it gets no token
        ((404, []), "Not Found"),
    ],
)
def test_swap_that_the_service_does_not_start(call, service, answer, says):
    service.started = answer
    code, out, err = call("service", "swap", "night", *service.words)
    assert (code, out) == (2, "")
    assert says in err


@pytest.mark.parametrize("words", [[], ["night", "--undo"]])
def test_swap_wants_a_bundle_or_undo(call, words):
    code, _, err = call("service", "swap", *words)
    assert code == 2
    assert "wanted a bundle or --undo" in err


@pytest.mark.parametrize("given", [True, False])
def test_swap_sends_the_token(call, service, tmp_path, given):
    """That of a file, else the one beside the configuration."""
    (tmp_path / ("mine" if given else "token")).write_text(TOKEN)
    service.states = [PASSED]
    words = ["--token-file", tmp_path / "mine"] if given else []
    assert call("service", "swap", "night", *service.words, *words)[0] == 0
    assert service.asked[0][3] == f"Bearer {TOKEN}"


def test_swap_gives_a_path_as_the_service_finds_it(call, service, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "night").mkdir()
    service.states = [PASSED]
    sent = []
    for words in ("night", "./night", "sub/night", "/a/night"):
        call("service", "swap", words, *service.words)
        sent.append(json.loads(service.asked.pop()[2])["bundle"])
    (tmp_path / "night" / "bundle.toml").touch()
    call("service", "swap", "night", *service.words)
    sent.append(json.loads(service.asked.pop()[2])["bundle"])
    here = Path.cwd()
    assert sent == ["night", f"{here}/night", f"{here}/sub/night", "/a/night", f"{here}/night"]


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8080", "ftp://x", "http://", "http://a:b", "http://a/b", "http://a?b", "http://[", "x"]
)
def test_client_refuses_what_is_no_address(url):
    with pytest.raises(UsageError, match=r"--url: wanted http://HOST:PORT, got"):
        Client(url).ask("GET", "/state")


def test_client_where_nobody_answers():
    with pytest.raises(UsageError, match="the service does not answer: Connection refused; nanoseg service status"):
        Client("http://127.0.0.1:1").ask("GET", "/state")


@pytest.mark.parametrize(
    ("url", "is_local"),
    [
        ("http://127.0.0.1:1", 1),
        ("http://localhost", 1),
        ("http://[::1]:1", 1),
        ("http://10.0.0.1", 0),
        ("http://b", 0),
    ],
)
def test_client_is_local(url, is_local):
    assert Client(url).is_local == bool(is_local)
