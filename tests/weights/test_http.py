"""Addresses that lead elsewhere, pages that want a confirmation, and servers that cannot be reached."""

import http.client
import socket
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest

from nanoseg.errors import SourceError, UsageError
from nanoseg.weights.download import Retries
from nanoseg.weights.fetch import fetch
from nanoseg.weights.web_page import download_form_url
from tests.fakes import file_server as a_server
from tests.weights.small_files import BODY, FIRST, FORM, Waits, get, names


@pytest.mark.parametrize("to", ["ftp://127.0.0.1:1/net.pth", "file:///etc/passwd"])
def test_http_follows_no_redirection_to_other_schemes(to, server, tmp_path):
    server.plays = [a_server.redirect(to)]
    with pytest.raises(SourceError, match=r"/file: .*not (followed|allowed).*--url"):
        get(server, tmp_path)
    assert names(tmp_path) == []


def test_http_follows_no_redirection_from_https_to_http(server, tmp_path, monkeypatch):
    class Https(http.client.HTTPConnection):
        """HTTPS as far as urllib knows; on the wire it is HTTP."""

        def __init__(self, host, *, context=None, check_hostname=None, **more):
            super().__init__(host, **more)

    monkeypatch.setattr(http.client, "HTTPSConnection", Https)
    safe = server.url.replace("http:", "https:")
    server.plays = [a_server.redirect("/moved"), a_server.redirect(server.url)]
    with pytest.raises(SourceError, match=r"^https://.*/file: is redirected to http://.*/file, which is not followed"):
        get(server, tmp_path, url=safe)
    assert [path for path, _ in server.calls] == ["/file", "/moved"]
    server.plays = [a_server.page(FORM.format(action=server.url))]
    with pytest.raises(SourceError, match="got a web page"):
        get(server, tmp_path, url=safe)
    server.plays = [a_server.redirect(safe)]  # the other way is an improvement
    assert get(server, tmp_path).read_bytes() == BODY


@pytest.mark.parametrize(
    ("page", "action", "followed"),
    [
        ("https://a.b/x", "/get", True),
        ("https://a.b/x", "https://a.b/get", True),
        ("https://a.b/x", "http://a.b/get", False),
        ("http://a.b/x", "http://a.b/get", True),
        ("http://a.b/x", "https://a.b/get", True),
        ("http://a.b/x", "ftp://a.b/get", False),
        ("https://a.b/x", "http://drive.usercontent.google.com/get", False),
        ("https://a.b/x", "https://drive.usercontent.google.com/get", True),
        ("https://a.b/x", "javascript:alert(1)", False),
    ],
)
def test_http_download_form_url(page, action, followed):
    assert (download_form_url(FORM.format(action=action), page) is not None) == followed


def test_http_confirms_a_download_form(server, tmp_path):
    server.plays = [a_server.page(FORM.format(action="/get?confirm=t"))]
    assert get(server, tmp_path).read_bytes() == BODY
    calls = urlsplit(server.calls[1][0])
    assert calls.path == "/get"
    assert parse_qs(calls.query) == {"confirm": ["t"], "id": ["a&b"], "uuid": ["1-2"]}


@pytest.mark.parametrize("play", [a_server.stalls, a_server.silent])
def test_http_timeout(play, server, tmp_path):
    server.plays, waits = 3 * [play], Waits()
    line = Retries(timeout_s=0.05, tries=1, wait=waits.append)
    with pytest.raises(SourceError, match="no response in time"):
        get(server, tmp_path, retries=line)
    assert "net.pth" not in names(tmp_path)


def test_http_closed_port(tmp_path):
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/file"
        waits = Waits()
        with pytest.raises(SourceError, match=r"cannot be reached: Connection refused; .*--url"):
            fetch(replace(FIRST, url=url), tmp_path, retries=waits.retries)
    assert waits == []
    assert names(tmp_path) == []


def test_http_unknown_host_names_the_mirrors(tmp_path, monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    weights = replace(FIRST, url="https://dead.example/x", mirrors=("https://copy.example/x",))
    with pytest.raises(SourceError, match=r"Name or service not known.*others keep a copy: --url https://copy"):
        fetch(weights, tmp_path)


@pytest.mark.parametrize(
    "url",
    ["ftp://a.b/c", "file:///etc/passwd", "weights.pt", "http://", "http://a:x/", "http://a b/", "http://ä.b/", ""],
)
def test_http_refuses_an_invalid_url(url, tmp_path):
    with pytest.raises(UsageError, match="--url: wanted an address like"):
        fetch(replace(FIRST, url=url), tmp_path)
    assert names(tmp_path) == []
