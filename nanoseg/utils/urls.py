"""URLs in what users give and programs print: paths out of `file:`, and passwords out of all others."""

from __future__ import annotations

import os
import re
from urllib.parse import unquote_to_bytes

# One slash, too: a path class makes one of two. The scheme is bounded, and a word is searched up to its last @ alone:
# else a long text takes minutes.
_UP_TO_AT = re.compile(r"(?<![^\s'\"])[^\s'\"]*@")
_USER = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,30}:/{1,2})([^\s/@:?#'\"]*(?::[^\s'\"]*)?)@")
# In a path, or without a scheme: by name. Of a query nothing is shown that is not known to be harmless.
_NAMES = "user|username|usr|loginuse|pass|passwd|password|pwd|psw|pw|loginpas"
_SECRET = re.compile(
    rf"(?i)([?&;](?:access_?token|api_?key|auth|credential|key|secret|sig|signature|token|{_NAMES})=)"
    r"[^\s&;#'\"]+?(?=:?(?:[\s&;#'\"]|$))"
)
_PATH_SECRET = re.compile(rf"(?i)([/_](?:{_NAMES})=)[^\s&;#'\"]+?(?=_[a-z]{{1,20}}=|[\s&;#/'\"]|\.sdp|$)")
_WORD = re.compile(r"(?<![^\s'\"])[^\s'\"]+")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,30}):/{1,2}")
_LOCAL = ("csi", "faults", "file", "parts", "v4l2")  # their queries are options
_HARMLESS = re.compile(r"(?i)(channel|download|fps|resolution|size|stream|subtype)=\w{0,16}")
_KEY = re.compile(r"[\w.\[\]-]{1,32}")
_OPTIONS = re.compile(r"[a-z]+=[^#]*")  # of a stream, behind #
# As a URL within another one.
_ESCAPED_USER = re.compile(r"(?i)(%3A%2F%2F)(?:(?!%3A%2F%2F)[^\s&'\"]){0,2000}%40")
_SCHEME_OR_ESCAPED_QUERY = re.compile(r"(?i)([a-z][a-z0-9+.-]{0,30})(?::/{1,2}|%3A%2F%2F)|%3F[^&#]+")
_FILE = re.compile(r"(?i)file://(?:localhost)?(?=/)|file:(?=/[^/])")


def redact_urls(text: str) -> str:
    """Return a text with user names and passwords of the URLs in it replaced by `***`.

    Everything up to the last `@` counts as a password where a colon precedes it: passwords hold any character. Each
    camera has names of its own for the password in a query, so all values of one are left out but a few of known names.
    """
    if "@" in text:
        text = _UP_TO_AT.sub(lambda word: _USER.sub(r"\1***@", word[0]), text)
    if "%40" in text:
        text = _ESCAPED_USER.sub(r"\1***%40", text)
    if "=" in text and ":/" in text:
        text = _PATH_SECRET.sub(r"\1***", _SECRET.sub(r"\1***", text))
    if "?" in text and ":/" in text:
        text = _WORD.sub(_mask_query, text)
    if ("%3F" in text or "%3f" in text) and (":/" in text or "%2F" in text.upper()):
        text = _WORD.sub(_mask_escaped_query, text)
    return text


def shown_url(url: str) -> str:
    """Return the URL of a stream for messages: scheme, host and path alone, whatever a password holds."""
    scheme, mark, rest = url.partition("://")
    user, place = split_user(rest)
    path = re.sub(r"[^/]*=[^/]*", "***", place.partition("?")[0].partition("#")[0])
    return f"{scheme}{mark}{'' if user is None else '***@'}{path}"


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


def _mask_query(word: re.Match[str]) -> str:
    """Return a word without the values of the query that the first URL in it has which is not of this machine."""
    for scheme in _SCHEME.finditer(word[0]):
        if scheme[1].lower() not in _LOCAL:
            place, mark, query = word[0][scheme.end() :].partition("?")
            query, colon = (query[:-1], ":") if query.endswith(":") else (query, "")
            head, hash_mark, tail = query.rpartition("#")
            if hash_mark and _OPTIONS.fullmatch(tail):
                query, colon = head, f"#{tail}{colon}"
            return f"{word[0][: scheme.end()]}{place}{mark}{re.sub('[^&;]+', _mask_item, query)}{colon}"
    return word[0]


def _mask_escaped_query(word: re.Match[str]) -> str:
    """Return a word without escaped queries, but for those of this machine's sources."""
    scheme = _LOCAL[0]

    def mask(found: re.Match[str]) -> str:
        nonlocal scheme
        scheme = found[1] or scheme
        return found[0] if found[1] or scheme.lower() in _LOCAL else f"%3F***{':' * found[0].endswith(':')}"

    return _SCHEME_OR_ESCAPED_QUERY.sub(mask, word[0])


def _mask_item(item: re.Match[str]) -> str:
    key, equals, _ = item[0].partition("=")
    if _HARMLESS.fullmatch(item[0]):
        return item[0]
    return f"{key}=***" if equals and _KEY.fullmatch(key) else "***"
