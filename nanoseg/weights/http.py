"""One HTTP request for a file: its answer, or what went wrong and whether it is worth another try."""

from __future__ import annotations

import http.client
import re
import urllib.parse
import urllib.request
from collections.abc import Mapping
from functools import cache
from http import HTTPStatus
from typing import Any
from urllib.error import HTTPError, URLError

from nanoseg.errors import SourceError, UsageError
from nanoseg.weights.web_page import PAGE_BYTES, form_address, may_lead, page_title

AGENT = "nanoseg (fetch_weights)"
ELSEWHERE = "give another address: --url"
# What may be otherwise a moment later.
PASSING = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS, *range(500, 600)}
# What reading an answer can raise when the line fails.
LINE_ERRORS = (OSError, http.client.HTTPException)


class BrokenError(Exception):
    """A try that broke off; another may succeed, from the file's start if `anew`."""

    def __init__(self, why: str, anew: bool = False) -> None:
        super().__init__(why)
        self.anew = anew


class _AstrayError(Exception):
    """A redirection that is not followed."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Those of the library would go from HTTPS to HTTP, and to FTP."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not may_lead(req.full_url, newurl):
            fp.close()
            raise _AstrayError(f"is redirected to {newurl[:200]}, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def check_address(url: str) -> None:
    """Raise UsageError unless this is an address that can be asked."""
    try:
        parts = urllib.parse.urlsplit(url)
        fits = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number
        fits = False
    if not fits or not url.isascii() or not url.isprintable() or " " in url:
        raise UsageError(f"--url: wanted an address like https://host/file, got {url!r}")


def ask(url: str, headers: Mapping[str, str], timeout_s: float) -> Any:
    """The response that holds the file (an http.client.HTTPResponse, to be closed), redirections followed.

    A web page that asks for confirmation, such as Google Drive's for large files, is confirmed. Raises BrokenError
    where another try may help, else SourceError.
    """
    response = _request(url, headers, timeout_s)
    if not _is_page(response):
        return response
    page = _read_page(response)
    address = form_address(page, response.url)
    if address is not None:
        response = _request(address, headers, timeout_s)
        if not _is_page(response):
            return response
        page = _read_page(response)
    title = page_title(page)
    told = f"'{title}'" if title else "without a title"
    raise SourceError(f"{url}: wanted a file, got a web page {told}; look at it in a browser, or {ELSEWHERE}")


def content_range(headers: Mapping[str, str]) -> tuple[int | None, int | None]:
    """First byte and length of the whole, from the header of a partial answer; None for what it does not tell."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", "").strip())
    return (int(found[1]), _number(found[2])) if found else (None, None)


def content_length(headers: Mapping[str, str]) -> int | None:
    """Bytes of the answer, None where it does not tell."""
    return _number(headers.get("Content-Length"))


def version(headers: Mapping[str, str]) -> tuple[str | None, str | None]:
    """What tells one version of a file from another: its ETag and its Last-Modified."""
    return headers.get("ETag"), headers.get("Last-Modified")


def why(error: object) -> str:
    """An error of the line in a few words."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    told = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(told).split())


def _request(url: str, headers: Mapping[str, str], timeout_s: float) -> Any:
    request = urllib.request.Request(url, headers={"User-Agent": AGENT, **headers})
    try:
        return _opener().open(request, timeout=timeout_s)
    except _AstrayError as error:
        raise SourceError(f"{url}: {error}; {ELSEWHERE}") from error
    except HTTPError as error:
        error.close()
        told = " ".join(f"HTTP {error.code} {error.reason}".split())
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise BrokenError(told, anew=True) from error
        if error.code in PASSING:
            raise BrokenError(told) from error
        raise SourceError(f"{url}: {told}; the file may have moved or be closed: {ELSEWHERE}") from error
    except URLError as error:
        if isinstance(error.reason, TimeoutError | ConnectionResetError | BrokenPipeError):
            raise BrokenError(why(error.reason)) from error
        told = f"cannot be reached: {why(error.reason)}"
        raise SourceError(f"{url}: {told}; see whether there is a network, or {ELSEWHERE}") from error
    except LINE_ERRORS as error:
        raise BrokenError(why(error)) from error
    except ValueError as error:  # a host name that cannot be one, here or in a redirection
        raise SourceError(f"{url}: leads nowhere: {why(error)}; {ELSEWHERE}") from error


@cache
def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_Redirects)


def _is_page(response: Any) -> bool:
    return response.headers.get_content_type() in ("text/html", "application/xhtml+xml")


def _read_page(response: Any) -> str:
    try:
        with response:
            return str(response.read(PAGE_BYTES), "utf-8", "replace")
    except LINE_ERRORS as error:
        raise BrokenError(why(error)) from error


def _number(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch("[0-9]+", text.strip()) else None
