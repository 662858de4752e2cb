"""Who is answered: the bearer token, the signed form of a URL, and where there is no token the host and the origin."""

from __future__ import annotations

import hmac
from urllib.parse import parse_qsl, urlencode

import pytest

from nanoseg.errors import UsageError
from nanoseg.service.http.token import SIGNED_PATHS, SIGNED_S, TokenCheck, read_token
from tests.service.http.serving import TOKEN, check_headers, check_refusal
from tests.service.results import a_result

PROTECTED = ("/metrics", "/openapi.json", "/state", "/stream.mjpg", "/snapshot.jpg", "/events", "/nothing", "/page")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": "Bearer"},
        {"Authorization": TOKEN},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": "Bearer ÿþ".encode("latin-1")},
        {"Cookie": f"token={TOKEN}"},
        {"X-Original-URL": "/healthz"},
    ],
)
def test_token_that_is_wrong_or_missing(guarded, headers):
    with guarded.client(headers=headers) as client:
        for path in PROTECTED:
            answer = client.get(path)
            check_refusal(answer, 401, guarded)
            assert answer.headers["www-authenticate"] == "Bearer"


def test_strangers_fill_no_log_with_paths(guarded, monkeypatch):
    """Lines about the same are told once, and by this they are the same."""
    told = []
    monkeypatch.setattr(guarded.application.asgi, "_told", lambda line, same: told.append((line, same)))
    with guarded.client(headers={}) as client:
        for path in ("/one", "/two"):
            client.get(path)
    assert told == [
        (f"GET /{each}: 401 wanted the bearer token", "401 wanted the bearer token") for each in ("one", "two")
    ]


@pytest.mark.parametrize("query", [f"token={TOKEN}", f"access_token={TOKEN}", f"signature={TOKEN}&expires=9999999999"])
def test_token_in_a_query(guarded, query):
    with guarded.client(headers={}) as client:
        for path in PROTECTED:
            check_refusal(client.get(f"{path}?{query}"), 401, guarded)


def test_open_paths_want_no_token(guarded):
    with guarded.client(headers={}) as client:
        for path in ("/", "/healthz", "/readyz", "/page/page.css"):
            answer = client.get(path)
            assert answer.status_code == 200
            check_headers(answer)


@pytest.mark.parametrize("host", ["localhost/healthz?", "x/page/", "localhost/page/#", "a@b/healthz"])
def test_host_header_opens_no_path(guarded, host):
    with guarded.client(headers={"Host": host}) as client:
        check_refusal(client.get("/state"), 401, guarded)


@pytest.mark.parametrize(
    "target", ["//healthz", "/page/../state", "/page/%2e%2e/state", "/healthz/../state", "/state%0a"]
)
def test_target_opens_no_path(guarded, target):
    for token, status in ((False, (401, 404)), (True, (404,))):
        with guarded.wire() as wire:
            authorization = f"Authorization: Bearer {TOKEN}\r\n" if token else ""
            wire.send(f"GET {target} HTTP/1.1\r\nHost: x\r\n{authorization}\r\n".encode())
            answer = wire.answer()
        assert answer.status in status
        check_refusal(answer, answer.status, guarded)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_token_is_accepted(guarded, scheme):
    with guarded.client(headers={"Authorization": f"{scheme} {TOKEN}"}) as client:
        for method, path in (("GET", "/state"), ("HEAD", "/state"), ("GET", "/openapi.json"), ("GET", "/metrics")):
            assert client.request(method, path).status_code == 200


def test_token_is_compared_in_constant_time(monkeypatch):
    compared = []
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append((a, b)) or a == b)
    check = TokenCheck(TOKEN)
    assert check.accepts(f"Bearer {TOKEN}")
    assert not check.accepts("Bearer 0")
    assert compared == [(TOKEN.encode(), TOKEN.encode()), (b"0", TOKEN.encode())]
    signed = check.sign("/events", "").replace("signature=", "signature=0")
    assert not check.accepts_signed(*signed.split("?"))
    assert len(compared) == 3


def test_sign_gives_a_url_that_opens_a_stream_without_headers(guarded):
    guarded.put(a_result())
    with guarded.client() as client, guarded.client(headers={}) as stranger:
        for path in ("/snapshot.jpg?source=belt&overlay=0", "/snapshot.jpg", "/snapshot.jpg?source=belt&source=belt"):
            answer = client.post("/sign", json={"path": path})
            assert answer.status_code == 200
            assert answer.json()["expires_in_s"] == SIGNED_S
            assert TOKEN not in answer.text
            assert stranger.get(answer.json()["url"]).headers["content-type"] == "image/jpeg"
            assert stranger.head(answer.json()["url"]).status_code == 200
        check_refusal(stranger.post(answer.json()["url"]), 401, guarded)


@pytest.mark.parametrize(
    "path", ["/state", "/", "/metrics", "/segment", "/stream.mjpg/", "stream.mjpg", "//events", ""]
)
def test_sign_takes_streams_only(guarded, path):
    with guarded.client() as client:
        check_refusal(client.post("/sign", json={"path": path}), 422, guarded)


def _altered(url: str):
    path, _, query = url.partition("?")
    pairs = dict(parse_qsl(query))
    yield "/stream.mjpg", query
    yield "/state", query
    yield "/Events", query
    yield path, query.replace("source=belt", "source=packing+table")
    yield path, query.replace("source=belt&", "")
    yield path, f"{query}&masks=1"
    yield path, f"{query}&masks="
    yield path, f"masks=&{query}"
    yield path, query.replace("source=belt", "source=belt&source=belt")
    for name, value in (
        ("expires", str(int(pairs["expires"]) + 1)),
        ("expires", "9" * 15),
        ("expires", f"+{pairs['expires']}"),
        ("expires", "٣" * 10),
        ("expires", ""),
        ("signature", pairs["signature"][:-1]),
        ("signature", pairs["signature"].upper()),
        ("signature", "é"),
        ("signature", ""),
    ):
        yield path, urlencode({**pairs, name: value})
    yield path, urlencode({name: value for name, value in pairs.items() if name != "signature"})
    yield path, urlencode({name: value for name, value in pairs.items() if name != "expires"})
    yield path, ""


def test_signed_url_that_is_altered_or_old():
    now_s = [1_700_000_000.0]
    check = TokenCheck(TOKEN, lambda: now_s[0])
    url = check.sign("/events", "source=belt&masks=0")
    assert check.accepts_signed(*url.split("?"))
    for path, query in _altered(url):
        assert (path, query) == tuple(url.split("?")) or not check.accepts_signed(path, query), (path, query)
    assert not TokenCheck(TOKEN, lambda: now_s[0]).accepts_signed(*url.split("?")), "of an earlier start"
    now_s[0] += SIGNED_S
    assert check.accepts_signed(*url.split("?"))
    now_s[0] += 1
    assert not check.accepts_signed(*url.split("?"))


@pytest.mark.parametrize("query", ["", "source=", "source=a%20b&overlay=0", "x=%ff&y=;z=%26", "a", "a=1&a=2", "&&"])
def test_sign_and_check_agree_on_any_query(query):
    for path in SIGNED_PATHS:
        assert TokenCheck(TOKEN).accepts_signed(*(check := TokenCheck(TOKEN)).sign(path, query).split("?")) is False
        assert check.accepts_signed(*check.sign(path, query).split("?"))


@pytest.mark.parametrize(
    ("content", "named"),
    [(b"", "0 characters"), (b"short", "5 characters"), (b"a b" * 10, "30 characters"), ("ß" * 20, "20 characters")],
)
def test_token_file_without_a_token(tmp_path, content, named):
    (tmp_path / "token").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError, match=named) as raised:
        read_token(str(tmp_path / "token"))
    assert "aaa" not in str(raised.value)


def test_token_file_has_the_token_on_its_first_line(tmp_path):
    (tmp_path / "token").write_text(f"  {TOKEN} \nfor the line\n")
    assert read_token(str(tmp_path / "token")) == TOKEN
    with pytest.raises(UsageError, match="missing"):
        read_token(str(tmp_path / "missing"))


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.", "x@localhost", "localhost@x", "localhost:80@x", "[::1",
     "localhost/", "localhost?", "localhost:x", "localhost:999999", "", "ÿ", "localhost localhost", "169.254.1.1"],
)  # fmt: skip
def test_host_of_another_name(served, host):
    with served.client(headers={"Host": host.encode("latin-1")}) as client:
        check_refusal(client.get("/state"), 421, served)
        assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1:1234", "[::1]", "[::1]:80"])
def test_host_of_this_service(served, host):
    with served.client(headers={"Host": host}) as client:
        assert client.get("/state").status_code == 200


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "https://evil.example", "null", "http://localhost", "http://[", "http://", "", "file://",
     "127.0.0.1", "http://127.0.0.1:{port}.evil.example", "http://127.0.0.1:{port}/", "ÿ"],
)  # fmt: skip
def test_origin_of_another_site(served, origin):
    origin = origin.replace("{port}", str(served.port))
    with served.client(headers={"Origin": origin.encode("latin-1")}) as client:
        check_refusal(client.post("/bundle", json={"bundle": "x"}), 403, served)
        check_refusal(client.delete("/bundle"), 403, served)
        check_refusal(client.get("/state"), 403, served)
    assert not served.swaps


def test_origin_of_the_page(served):
    with served.client(headers={"Origin": f"http://127.0.0.1:{served.port}"}) as client:
        assert client.get("/state").status_code == 200
