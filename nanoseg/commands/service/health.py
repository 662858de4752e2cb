"""Whether a service is ready, as itself says over HTTP."""

from __future__ import annotations

import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from nanoseg.errors import UsageError, one_line, os_reason
from nanoseg.service.config import HttpConfig
from nanoseg.utils.text import shorten
from nanoseg.utils.toml import read_toml

_ANSWER_S = 3.0
_MAX_BYTES = 4096
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # of this machine's addresses


class _Config(msgspec.Struct):
    http: HttpConfig = HttpConfig()


class Health(msgspec.Struct):
    """What a service answered."""

    url: str
    ready: bool
    answer: str  # a line


def service_url(config: Path) -> str:
    """Return where the service of a configuration answers on this machine.

    A file that this user may not read, or in which that is wrong, counts as one that says nothing.
    """
    try:
        http = read_toml(config, _Config).http
    except UsageError:
        http = HttpConfig()
    host = _ANY.get(http.host, http.host).strip("[]")
    return f"http://{f'[{host}]' if ':' in host else host}:{http.port}"


def ask_ready(url: str) -> Health:
    """Ask GET /readyz, for at most a few seconds.

    Raises:
        UsageError: `url` is no address of HTTP.
    """
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise UsageError(f"--url: wanted http://HOST:PORT, got {url}")
    address = f"{url.rstrip('/')}/readyz"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # none is between this machine and itself
    try:
        with opener.open(address, timeout=_ANSWER_S) as response:
            return Health(address, True, _line(response.read(_MAX_BYTES)) or "ready")
    except urllib.error.HTTPError as error:
        with error:
            return Health(address, False, f"{error.code}: {_line(error.read(_MAX_BYTES)) or error.reason}")
    except urllib.error.URLError as error:
        reason = error.reason
        return Health(address, False, os_reason(reason) if isinstance(reason, OSError) else str(reason))
    except (OSError, HTTPException, ValueError) as error:
        return Health(address, False, one_line(error))


def _line(body: bytes) -> str:
    return shorten(" ".join(body.decode(errors="replace").split()), 300)
