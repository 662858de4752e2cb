"""Anything but the requested file is refused, and not kept."""

import hashlib
from dataclasses import replace

import pytest

from nanoseg.errors import SourceError
from tests.fakes import file_server as a_server
from tests.weights.small_files import BODY, CHECKED, FIRST, FORM, OTHER, PAGE, SHA256, Waits, get, names, zipped

REFUSED = {
    "not found": ([a_server.status(404)], FIRST, r"HTTP 404 Not Found; .*--url"),
    "forbidden": ([a_server.status(403)], FIRST, r"HTTP 403 Forbidden"),
    "gone": ([a_server.status(410)], FIRST, r"HTTP 410 Gone"),
    "a page": ([a_server.page(PAGE)], FIRST, r"got a web page 'Quota exceeded'"),
    "a page that says it is none": (
        [a_server.page(PAGE, "application/octet-stream")],
        FIRST,
        r'got a web page, "Quota exceeded"',
    ),
    "a page without a title": ([a_server.page("<p>no")], FIRST, r"got a web page without a title"),
    "a form that leads to a page": ([a_server.page(FORM.format(action="/get")), a_server.page(PAGE)], FIRST, "Quota"),
    "a form that leads to a stranger": ([a_server.page(FORM.format(action="http://a.b/"))], FIRST, "Virus scan"),
    "a Git LFS pointer": (
        [a_server.page("version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n", "text/plain")],
        FIRST,
        "Git LFS pointer",
    ),
    "an empty file": (
        [a_server.page("", "text/plain")],
        FIRST,
        "wanted a file of torch.save, complete; got an empty file",
    ),
    "a length that is not the published one": ([a_server.says_length(7)], CHECKED, r"wanted 300,\d+ bytes, .* has 7"),
    "too small a length": ([a_server.says_length(len(BODY) - 9)], FIRST, "wanted a file of torch.save, complete"),
    "a redirection without end": (9 * [a_server.redirect("/file")], FIRST, r"HTTP 302 .*redirect"),
    "a redirection to nowhere": (
        [a_server.redirect("http://a..b/")],
        FIRST,
        r"is not a valid address|cannot be reached",
    ),
    "no length at all": ([a_server.says_length(None)], FIRST, "neither the server nor its publisher states the length"),
    "other bytes": ([a_server.page(OTHER.decode("latin-1"), "text/plain")], CHECKED, "wanted 300"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_fetch_keeps_nothing_of_a_wrong_response(case, server, tmp_path):
    plays, weights, text = REFUSED[case]
    server.plays = list(plays)
    with pytest.raises(SourceError, match=text) as caught:
        get(server, tmp_path, weights)
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == []
    # None of these is worth a second try.
    assert len(server.calls) <= max(len(plays), 2)


WRONG = {
    "sha256": (replace(CHECKED, bytes=None), "wanted sha256"),
    "md5": (replace(FIRST, md5=hashlib.md5(BODY).hexdigest()), "wanted md5"),
    "size": (replace(FIRST, bytes=len(BODY)), "bytes"),
    "what others saw": (replace(FIRST, seen_sha256=SHA256), "as it was seen before.*--forget-hash"),
}


@pytest.mark.parametrize("case", WRONG)
def test_fetch_refuses_other_bytes(case, tmp_path):
    weights, text = WRONG[case]
    with a_server.serving(zipped(2, 299_999)) as wrong, pytest.raises(SourceError, match=text):
        get(wrong, tmp_path, weights)
    assert names(tmp_path) == []


def test_fetch_takes_a_known_size_where_the_server_states_none(server, tmp_path):
    server.plays = [a_server.says_length(None)]
    assert get(server, tmp_path, replace(FIRST, bytes=len(BODY))).read_bytes() == BODY


def test_fetch_ends_where_the_stated_length_never_arrives(server, tmp_path):
    server.plays = 9 * [a_server.says_length(len(BODY) + 7)]
    waits = Waits()
    with pytest.raises(SourceError, match=rf"broke off at {len(BODY):,} of {len(BODY) + 7:,} bytes; .*--url"):
        get(server, tmp_path, waits=waits)
    assert waits == [1, 2, 4]
    assert "net.pth" not in names(tmp_path)
