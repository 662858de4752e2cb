"""URLs in what users give and programs print: paths out of `file:`, and passwords out of all others."""

from __future__ import annotations

import os
import re
from urllib.parse import unquote_to_bytes

# One slash, too: a path class makes one of two. The scheme is bounded, and a word is searched up to its last @ alone:
# else a long text takes minutes.
_UP_TO_AT = re.compile(r"(?<![^\s'\"])[^\s'\"]*@")
_USER = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,30}:/{1,2})([^\s/@:?#'\"]*(?::[^\s'\"]*)?)@")
_SECRET = re.compile(
    r"(?i)([?&;](?:access_?token|api_?key|auth|credential|key|pass|passwd|password|pwd|secret|sig|signature|token|user|"
    r"username|usr)=)[^\s&;#'\"]+?(?=:?(?:[\s&;#'\"]|$))"
)
# As some cameras want them in the path, and escaped, as a URL within another one.
_PATH_SECRET = re.compile(
    r"(?i)([/_](?:user|username|usr|password|passwd|pwd)=)[^\s&;#'\"]+?(?=_[a-z]{1,20}=|[\s&;#/'\"]|\.sdp|$)"
)
_ESCAPED_USER = re.compile(r"(?i)(%3A%2F%2F)(?:(?!%3A%2F%2F)[^\s&'\"]){0,2000}%40")
_FILE = re.compile(r"(?i)file://(?:localhost)?(?=/)|file:(?=/[^/])")


def redact_urls(text: str) -> str:
    """Return a text with user names and passwords of the URLs in it replaced by `***`.

    Everything up to the last `@` counts as a password where a colon precedes it: passwords hold any character.
    """
    if "@" in text:
        text = _UP_TO_AT.sub(lambda word: _USER.sub(r"\1***@", word[0]), text)
    if "%40" in text:
        text = _ESCAPED_USER.sub(r"\1***%40", text)
    if "=" in text and ":/" in text:
        text = _PATH_SECRET.sub(r"\1***", _SECRET.sub(r"\1***", text))
    return text


def split_user(rest: str) -> tuple[str | None, str]:
    """Split what follows `://` into the user with the password, None where there is none, and the rest.

    A password may hold any character, `/`, `?` and `@` too, where the part before the first of them has no `@` and
    cannot be a host with its port.
    """
    at = rest.partition("?")[0].rfind("@")
    if at < 0:
        host, colon, port = re.split(r"[/?#]", rest, maxsplit=1)[0].partition(":")
        if colon and host and not port.isdigit() and not host.startswith("["):
            at = rest.rfind("@")
    return (None, rest) if at < 0 else (rest[:at], rest[at + 1 :])


def file_path(url: str) -> str | None:
    """Return the path of a `file:` URL on this machine, or None for any other text."""
    match = _FILE.match(url)
    return None if match is None else os.fsdecode(unquote_to_bytes(os.fsencode(url[match.end() :])))


def has_scheme(text: str) -> bool:
    """Return whether a text begins like a URL: `rtsp://`."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None
