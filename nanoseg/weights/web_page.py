"""Web pages that are served in place of a file: their title, and the target of their download form."""

from __future__ import annotations

import urllib.parse
from html.parser import HTMLParser

PAGE_BYTES = 1 << 20  # read at most
DRIVE_HOST = "drive.usercontent.google.com"


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.title = ""
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self._inside: str | None = None  # title or form

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "title":
            self._inside = "title"
        elif tag == "form" and given.get("id") == "download-form":
            self.action, self._inside = given.get("action", ""), "form"
        elif tag == "input" and self._inside == "form" and given.get("name"):
            self.fields[given["name"]] = given.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = None

    def handle_data(self, data: str) -> None:
        if self._inside == "title":
            self.title += data


def page_title(page: str) -> str:
    """Return the page's title on one line."""
    return " ".join(_parsed(page).title.split())[:100]


def download_form_url(page: str, url: str) -> str | None:
    """Return the target of a page's download form.

    Google Drive shows such a form for a file too large for its virus scanner: every field of it must be sent back.

    Args:
        page: The page's HTML.
        url: Its address.

    Returns:
        The URL, None without a form, or where it leads to a host that is neither the page's nor Google's, or from HTTPS
        to HTTP.
    """
    found = _parsed(page)
    if found.action is None:
        return None
    action = urllib.parse.urljoin(url, found.action)
    source, target = (urllib.parse.urlsplit(address) for address in (url, action))
    if not may_redirect(url, action) or target.hostname not in (source.hostname, DRIVE_HOST):
        return None
    return f"{action}{'&' if target.query else '?'}{urllib.parse.urlencode(found.fields)}"


def may_redirect(url: str, to: str) -> bool:
    """Whether a redirection may be followed: to HTTP or HTTPS, and never from HTTPS to HTTP."""
    source, target = (urllib.parse.urlsplit(address).scheme for address in (url, to))
    return target == "https" or (target == "http" and source != "https")


def _parsed(page: str) -> _Page:
    parser = _Page()
    parser.feed(page)
    parser.close()
    return parser
