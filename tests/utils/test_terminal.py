"""What is printed: one line a call, without control characters and passwords."""

import io
import logging
import sys
import threading

import pytest
from rich.console import Console

from nanoseg.utils import terminal


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("a.png: 2 objects", "a.png: 2 objects"),
        ("Straße/写真.png", "Straße/写真.png"),
        ("a\x1b[31mred\x1b[0m", r"a\x1b[31mred\x1b[0m"),
        ("a\nnanoseg: error: not from here", r"a\nnanoseg: error: not from here"),
        ("a\rb\tc\x07\x7f", r"a\rb\tc\x07\x7f"),
        ("\x9b2J", r"\x9b2J"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("line\u2028break", r"line\u2028break"),
        ("caf\udce9.png", r"caf\xe9.png"),
        ("narrow\u202fspace", "narrow\u202fspace"),
        ("rtsp://user:pass@host/1", "rtsp://***@host/1"),
    ],
)
def test_terminal_escapes(text, printed, capsys):
    terminal.print_line(text)
    terminal.print_error(text)
    terminal.print_table(text, [("name", text)])
    out, err = capsys.readouterr()
    assert out == f"{printed}\n{printed}\n  name  {printed}\n"
    assert err == f"nanoseg: {printed}\n"


def test_terminal_escapes_what_is_logged(monkeypatch):
    stream, root = io.StringIO(), logging.getLogger()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(root, "handlers", [])
    terminal.configure_output()
    logging.getLogger("nanoseg").warning("%s: has 3 pages", "a\x1b[2J\n.tif")
    assert stream.getvalue() == "nanoseg: a\\x1b[2J\\n.tif: has 3 pages\n"


def test_terminal_progress_bar_of_what_is_timed_draws_seldom(monkeypatch):
    """No thread draws meanwhile, and a step that is not drawn does nothing but count."""
    now_s = [100.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now_s[0])
    screen = io.StringIO()
    monkeypatch.setattr(terminal, "Console", lambda file: Console(file=screen, force_terminal=True, width=100))
    threads = threading.active_count()
    with terminal.progress_bar("timed", 50, every_s=5.0) as advance:
        assert threading.active_count() == threads
        begun = screen.getvalue()
        for _ in range(9):
            advance()
        assert screen.getvalue() == begun
        now_s[0] += 5
        advance()
        assert "10/50" in screen.getvalue()[len(begun) :]
        drawn = screen.getvalue()
        advance()
        assert screen.getvalue() == drawn


def test_terminal_progress_bar_shows_names_as_they_are(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    with terminal.progress_bar("[/red]a\x07b", 2) as advance:
        advance()
    assert r"[/red]a\x07b" in stream.getvalue()
