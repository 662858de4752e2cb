"""The bearer token, and the short-lived signed form of URLs for what cannot send it."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

from nanoseg.errors import UsageError
from nanoseg.service.systemd import credential
from nanoseg.utils.read_file import read_text

SIGNED_S = 60.0  # for which a signed URL opens a stream; one that is open goes on until the token changes
SIGNED_PATHS = ("/stream.mjpg", "/snapshot.jpg", "/events")
_MIN_LETTERS = 16


def read_token(token_file: str | None) -> str | None:
    """Return the token of a file, else of systemd's credential `token`, else None.

    Raises:
        UsageError: the file cannot be read, or its first line is no token.
    """
    path = credential("token") if token_file is None else Path(token_file)
    if path is None:
        return None
    lines = read_text(path, error=UsageError).splitlines()
    token = lines[0].strip() if lines else ""
    if len(token) < _MIN_LETTERS or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(
            f"{path}: wanted a token of {_MIN_LETTERS} or more ASCII letters and digits on the first line, got "
            f"{len(token)} characters; `openssl rand -hex 32` makes one"
        )
    return token


class TokenCheck:
    """Whether a request may be answered."""

    def __init__(self, token: str | None, now_s: Callable[[], float] = time.monotonic) -> None:
        """Take the token; None: everybody who reaches the port is trusted."""
        self._token, self._now_s = token, now_s
        self._key = secrets.token_bytes(32)

    def renewed(self, token: str | None) -> TokenCheck:
        """Return the check of a token that was read again: this one, with what it has signed, where it is the same."""
        return self if token == self._token else TokenCheck(token)

    @property
    def wanted(self) -> bool:
        """Whether there is a token."""
        return self._token is not None

    def accepts(self, authorization: str) -> bool:
        """Return whether an Authorization header has the token; compared in constant time."""
        kind, _, given = authorization.partition(" ")
        if self._token is None:
            return True
        return kind.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self._token.encode())

    def sign(self, path: str, query: str) -> str:
        """Return the signed form of a stream's path and query, which holds for SIGNED_S seconds."""
        pairs = [*_unsigned(query), ("expires", str(int(self._now_s() + SIGNED_S)))]
        return f"{path}?{urlencode([*pairs, ('signature', self._signature(path, pairs))])}"

    def accepts_signed(self, path: str, query: str) -> bool:
        """Return whether a path and query were signed, and not too long ago."""
        given = dict(parse_qsl(query, keep_blank_values=True))
        expires = given.get("expires", "")
        if path not in SIGNED_PATHS or not (expires.isascii() and expires.isdigit() and len(expires) < 16):
            return False
        pairs = [*_unsigned(query), ("expires", expires)]
        signature = self._signature(path, pairs)
        return hmac.compare_digest(given.get("signature", "").encode(), signature.encode()) and (
            self._now_s() <= int(expires)
        )

    def _signature(self, path: str, pairs: list[tuple[str, str]]) -> str:
        return hmac.new(self._key, f"{path}?{urlencode(pairs)}".encode(), hashlib.sha256).hexdigest()


def _unsigned(query: str) -> list[tuple[str, str]]:
    return [pair for pair in parse_qsl(query, keep_blank_values=True) if pair[0] not in ("expires", "signature")]
