"""Text as one line that can be shown: no control characters, no passwords, not too long."""

from __future__ import annotations

from nanoseg.utils.urls import redact_urls

# Spaces that are no ASCII ones: harmless, and common in names.
_SPACES = "\u00a0\u2002\u2003\u2009\u202f\u3000"


def printable(text: str) -> str:
    """Return a text as one line that a terminal shows as it is, without passwords of URLs.

    Names of files, labels of bundles and messages of libraries may hold control characters, which move the cursor or
    change the colour, and bytes that are not UTF-8: each is written as its escape, `\\x1b`.
    """
    if text.isprintable():
        return redact_urls(text)
    return redact_urls("".join(letter if letter.isprintable() else _escape(letter) for letter in text))


def shorten(text: str, most: int) -> str:
    """Return a text of at most `most` characters, its middle left out where it is longer."""
    if len(text) <= most:
        return text
    end = most // 3
    return f"{text[: most - end - 5]} ... {text[-end:]}"


def _escape(letter: str) -> str:
    if "\udc80" <= letter <= "\udcff":  # a byte of a name that is not UTF-8
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode() if letter not in _SPACES else letter
