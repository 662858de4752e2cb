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
_FILE = re.compile(r"(?i)file://(?:localhost)?(?=/)|file:(?=/[^/])")


def redact_urls(text: str) -> str:
    """Return a text with user names and passwords of the URLs in it replaced by `***`.

    Everything up to the last `@` counts as a password where a colon precedes it: passwords hold any character.
    """
    if "@" in text:
        text = _UP_TO_AT.sub(lambda word: _USER.sub(r"\1***@", word[0]), text)
    return _SECRET.sub(r"\1***", text) if "=" in text and ":/" in text else text


def file_path(url: str) -> str | None:
    """Return the path of a `file:` URL on this machine, or None for any other text."""
    match = _FILE.match(url)
    return None if match is None else os.fsdecode(unquote_to_bytes(os.fsencode(url[match.end() :])))


def has_scheme(text: str) -> bool:
    """Return whether a text begins like a URL: `rtsp://`."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None
