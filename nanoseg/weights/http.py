"""One HTTP request for a file: its response, or an error that says whether to try again."""

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

from nanoseg.errors import SourceError, UsageError, one_line, os_reason
from nanoseg.weights.web_page import PAGE_BYTES, download_form_url, may_redirect, page_title

AGENT = "nanoseg (fetch)"
OTHER_ADDRESS = "give another address: --url"
# Statuses that another try may not give.
TRANSIENT = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS, *range(500, 600)}
# Errors of reading a response when the connection fails.
CONNECTION_ERRORS = (OSError, http.client.HTTPException)


class RetryableError(Exception):
    """A try that failed; another may succeed, from the file's start if `restart`."""

    def __init__(self, reason: str, restart: bool = False) -> None:
        super().__init__(reason)
        self.restart = restart


class _RedirectError(Exception):
    """A redirection that is not followed."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirections, but not from HTTPS to HTTP, nor to FTP, as the library would."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not may_redirect(req.full_url, newurl):
            fp.close()
            raise _RedirectError(f"is redirected to {newurl[:200]}, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def check_url(url: str) -> None:
    """Raise UsageError unless this is a valid HTTP or HTTPS URL."""
    try:
        parts = urllib.parse.urlsplit(url)
        fits = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number
        fits = False
    if not fits or not url.isascii() or not url.isprintable() or " " in url:
        raise UsageError(f"--url: wanted an address like https://host/file, got {url!r}")


def open_url(url: str, headers: Mapping[str, str], timeout_s: float) -> Any:
    """Open a URL, following redirections and confirming pages such as Google Drive's for large files.

    Args:
        url: The address of the file.
        headers: Further request headers.
        timeout_s: Longest time without a byte.

    Returns:
        The response with the file, an http.client.HTTPResponse that the caller closes.

    Raises:
        RetryableError: Another try may help.
        SourceError: It will not.
    """
    response = _request(url, headers, timeout_s)
    if not _is_page(response):
        return response
    page = _read_page(response)
    address = download_form_url(page, response.url)
    if address is not None:
        response = _request(address, headers, timeout_s)
        if not _is_page(response):
            return response
        page = _read_page(response)
    title = page_title(page)
    name = f"'{title}'" if title else "without a title"
    raise SourceError(f"{url}: wanted a file, got a web page {name}; look at it in a browser, or {OTHER_ADDRESS}")


def content_range(headers: Mapping[str, str]) -> tuple[int | None, int | None]:
    """Return the first byte and the total length that a partial response states, None for what it does not."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", "").strip())
    return (int(found[1]), _number(found[2])) if found else (None, None)


def content_length(headers: Mapping[str, str]) -> int | None:
    """Return the length of a response in bytes, None where it does not state it."""
    return _number(headers.get("Content-Length"))


def version_of(headers: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Return a file's version: its ETag and its Last-Modified."""
    return headers.get("ETag"), headers.get("Last-Modified")


def reason_of(error: object) -> str:
    """Return the reason of a connection's error, on one line."""
    if isinstance(error, TimeoutError):
        return "no response in time"
    if isinstance(error, OSError):
        return os_reason(error)
    return one_line(error) if isinstance(error, BaseException) else str(error)


def _request(url: str, headers: Mapping[str, str], timeout_s: float) -> Any:
    request = urllib.request.Request(url, headers={"User-Agent": AGENT, **headers})
    try:
        return _opener().open(request, timeout=timeout_s)
    except _RedirectError as error:
        raise SourceError(f"{url}: {error}; {OTHER_ADDRESS}") from error
    except HTTPError as error:
        error.close()
        reason = " ".join(f"HTTP {error.code} {error.reason}".split())
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise RetryableError(reason, restart=True) from error
        if error.code in TRANSIENT:
            raise RetryableError(reason) from error
        raise SourceError(f"{url}: {reason}; the file may have moved or need a permission: {OTHER_ADDRESS}") from error
    except URLError as error:
        if isinstance(error.reason, TimeoutError | ConnectionResetError | BrokenPipeError):
            raise RetryableError(reason_of(error.reason)) from error
        reason = f"cannot be reached: {reason_of(error.reason)}"
        raise SourceError(f"{url}: {reason}; check the network, or {OTHER_ADDRESS}") from error
    except CONNECTION_ERRORS as error:
        raise RetryableError(reason_of(error)) from error
    except ValueError as error:  # a host name that cannot be one, here or in a redirection
        raise SourceError(f"{url}: is not a valid address: {reason_of(error)}; {OTHER_ADDRESS}") from error


@cache
def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_Redirects)


def _is_page(response: Any) -> bool:
    return response.headers.get_content_type() in ("text/html", "application/xhtml+xml")


def _read_page(response: Any) -> str:
    try:
        with response:
            return str(response.read(PAGE_BYTES), "utf-8", "replace")
    except CONNECTION_ERRORS as error:
        raise RetryableError(reason_of(error)) from error


def _number(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch("[0-9]+", text.strip()) else None
