"""URLs: passwords are taken out, whatever they hold, and `file:` is a path."""

import signal

import pytest

from nanoseg.utils.urls import file_path, redact_urls, shown_url, split_user


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("rtsp://user:password@host:554/stream", "rtsp://***@host:554/stream"),
        ("RTSP://user:password@host", "RTSP://***@host"),
        ("rtsp:/user:password@host", "rtsp:/***@host"),  # as a path class writes it
        ("rtsp://user:p@ss@host/1", "rtsp://***@host/1"),
        ("rtsp://user:p/a?s#s@host/1", "rtsp://***@host/1"),
        ("rtsp://:password@host/1", "rtsp://***@host/1"),
        ("rtsp://user@host/1", "rtsp://***@host/1"),
        ("http://cam/video.cgi?user=admin&pwd=secret&size=1", "http://cam/video.cgi?user=***&pwd=***&size=1"),
        ("https://x/a.m3u8?token=abc", "https://x/a.m3u8?token=***"),
        ("rtsp://c:554/user=admin_password=X1_channel=1_stream=0.sdp",
         "rtsp://c:554/user=***_password=***_channel=1_stream=0.sdp"),
        ("http://cam/v.cgi?loginuse=admin&loginpas=geheim: lost", "http://cam/v.cgi?loginuse=***&loginpas=***: lost"),
        ("http://cam/v?u=a&p=b;c&subtype=1#timeout=3", "http://cam/v?u=***&p=***;***&subtype=1#timeout=3"),
        ("http://cam/v?psw=ge?he#im", "http://cam/v?psw=***"),
        ("http://cam/v?geheim", "http://cam/v?***"),
        ("rtsp://c/user=me&pw=geheim&channel=1&stream=0.sdp?real",
         "rtsp://c/user=***&pw=***&channel=1&stream=0.sdp?***"),
        ("source[0].url: http:/cam/v?psw=geheim", "source[0].url: http:/cam/v?psw=***"),
        ("faults://?source=rtsp%3A%2F%2Fa:b%40c%2F1&seed=7", "faults://?source=rtsp%3A%2F%2F***%40c%2F1&seed=7"),
        ("faults://?source=http%3A%2F%2Fc%2Fv%3Fpsw%3Dx%26u%3Dy&kinds=hang",
         "faults://?source=http%3A%2F%2Fc%2Fv%3F***&kinds=hang"),
        ("faults://?source=http://c/v?psw=x&kinds=hang", "faults://?source=http://c/v?psw=***&kinds=***"),
        ("faults://?source=http://c/v%3Fpsw=x&seed=1: lost", "faults://?source=http://c/v%3F***&seed=1: lost"),
        ("faults://?source=http%3A%2F%2Fc%2Fv%3Fpsw=x: lost", "faults://?source=http%3A%2F%2Fc%2Fv%3F***: lost"),
        ("faults://?source=parts://%3Fsize=160x120&seed=1", "faults://?source=parts://%3Fsize=160x120&seed=1"),
        ("faults://?source=0%3Ftimeout=2%26name=a", "faults://?source=0%3Ftimeout=2%26name=a"),
        ("parts://?seed=1&fps=30", "parts://?seed=1&fps=30"),
        ("/dev/video0?size=1280x720", "/dev/video0?size=1280x720"),
        ("is it http://cam/v? Yes", "is it http://cam/v? Yes"),
        ("'rtsp://a:b@c/1' and 'http://d:e@f'", "'rtsp://***@c/1' and 'http://***@f'"),
        ("-rtsp://a:b@c", "-rtsp://***@c"),
        ("1rtsp://a:b@c", "1rtsp://***@c"),
        ("rtsp://host:554/stream", "rtsp://host:554/stream"),
        ("https://example.com/@someone/video.mp4", "https://example.com/@someone/video.mp4"),
        ("/data/a@b.png: no such file", "/data/a@b.png: no such file"),
        ("mail me@example.com", "mail me@example.com"),
    ],
)  # fmt: skip
def test_urls_redacted(text, redacted):
    assert redact_urls(text) == redacted


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("a." * 50_000 + "@", "a." * 50_000 + "@"),
        ("a:/:" * 25_000 + "@", "a:/***@"),
        ("a:/:" * 25_000 + " @", "a:/:" * 25_000 + " @"),
        ("a://b:" + "c" * 100_000 + "@d", "a://***@d"),
        ("a:/?" * 25_000 + "=", "a:/?***"),
        ("a:/:" * 25_000 + " ?", "a:/:" * 25_000 + " ?"),
        ("%3F?" * 25_000, "%3F?" * 25_000),
    ],
)
def test_urls_redacted_in_long_texts(text, redacted):
    previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.alarm(20)  # seconds; what grows with the square of the length takes minutes
    try:
        assert redact_urls(text) == redacted
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://cam:81/v.cgi?loginpas=ge heim'", "http://cam:81/v.cgi"),
        ("rtsp://me:geheim@cam/1", "rtsp://***@cam/1"),
        ("rtsp://cam/a/user=me_password=geheim.sdp/b", "rtsp://cam/a/***/b"),
        ("udp://@:5000", "udp://***@:5000"),
    ],
)
def test_urls_shown(url, shown):
    assert shown_url(url) == shown


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///a/b.png", "/a/b.png"),
        ("FILE:///a/b.png", "/a/b.png"),
        ("file://localhost/a/b.png", "/a/b.png"),
        ("file:/a/b.png", "/a/b.png"),
        ("file:///a%20b/%25.png", "/a b/%.png"),
        ("file:///caf%E9.png", "/caf\udce9.png"),
        ("file:///a#1?.png", "/a#1?.png"),
        ("file://elsewhere/a.png", None),
        ("/a/b.png", None),
        ("file.png", None),
    ],
)
def test_urls_of_files(url, path):
    assert file_path(url) == path


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("cam/1", (None, "cam/1")),
        ("cam:554/1?x=a@b", (None, "cam:554/1?x=a@b")),
        ("[::1]:554/1?x=a@b", (None, "[::1]:554/1?x=a@b")),
        ("me:p@s@cam/1", ("me:p@s", "cam/1")),
        ("me:a/b@cam/1", ("me:a/b", "cam/1")),
        ("me:a?b@cam/1", ("me:a?b", "cam/1")),
        ("@:5000", ("", ":5000")),
    ],
)
def test_urls_split_user(rest, expected):
    assert split_user(rest) == expected
