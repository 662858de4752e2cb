"""A fetch that broke off goes on where it ended, and never makes one file of two versions."""

import hashlib
from dataclasses import replace

import pytest

from nanoseg.errors import SourceError
from tests.fakes import file_server as a_server
from tests.weights.small_files import BODY, CHECKED, FIRST, OTHER, SHA256, Waits, get, names

# What the first requests get; then the ranges of the next ones. The file is complete each time.
HALF, THIRD = len(BODY) // 2, len(BODY) // 3
MONDAY, TUESDAY = ({"Last-Modified": f"{day} 2024 10:00:00 GMT"} for day in ("Mon, 01 Jan", "Tue, 02 Jan"))
MENDED = {
    "it breaks off": ([a_server.breaks_at(HALF)], [HALF]),
    "it breaks off twice": ([a_server.breaks_at(HALF), a_server.status(503)], [HALF, HALF]),
    "it breaks off at once": ([a_server.breaks_at(0)], [None]),
    "it breaks off and knows no ranges": ([a_server.breaks_at(HALF), a_server.no_ranges], [HALF]),
    "it knows no ranges and breaks off again": ([a_server.breaks_at(HALF), a_server.breaks_at(THIRD)], [HALF, THIRD]),
    "it has no ETag, so that nothing tells its version": ([a_server.breaks_at(HALF, ETag=None)], [None]),
    "its ETag is a weak one": ([a_server.breaks_at(HALF, ETag='W/"1"')], [None]),
    "its date tells its version": (
        [a_server.breaks_at(HALF, ETag=None, **MONDAY), a_server.rest(**MONDAY)],
        [HALF],
    ),
    "its date does, beside a weak ETag": (
        [a_server.breaks_at(HALF, ETag='W/"1"', **MONDAY), a_server.rest(ETag='W/"1"', **MONDAY)],
        [HALF],
    ),
    "another version is there by then": ([a_server.breaks_at(HALF, ETag='"old"')], [HALF]),
    "another length is there by then": (
        [a_server.breaks_at(HALF, **MONDAY, **{"Content-Length": 2 * len(BODY)}), a_server.rest(**MONDAY)],
        [HALF, None],
    ),
    # What follows would be of another version or may be, and is not appended.
    "it heeds no If-Range, its ETag is another": (
        [a_server.breaks_at(HALF, ETag='"old"'), a_server.rest(ETag='"new"')],
        [HALF, None],
    ),
    "it heeds none, its date is another": (
        [a_server.breaks_at(HALF, ETag=None, **MONDAY), a_server.rest(**TUESDAY)],
        [HALF, None],
    ),
    "it heeds none, its weak ETag is another": (
        [a_server.breaks_at(HALF, ETag='W/"1"', **MONDAY), a_server.rest(ETag='W/"2"', **MONDAY)],
        [HALF, None],
    ),
    "it heeds none and tells no version": ([a_server.breaks_at(HALF), a_server.rest()], [HALF, None]),
    "it sends a range that was not requested": ([a_server.unasked_range], [None]),
    "it cannot serve the rest": ([a_server.breaks_at(HALF), a_server.status(416)], [HALF, None]),
    "it is busy": ([a_server.status(429), a_server.status(500)], [None, None]),
    "it sends chunks": ([a_server.chunked()], []),
    "its chunks break off": ([a_server.chunked(whole=False)], [None]),
    "it says too great a length": ([a_server.says_length(len(BODY) + 7)], [None]),
    "it leads elsewhere": ([a_server.breaks_at(HALF), a_server.redirect("/moved")], [HALF, HALF]),
}


@pytest.mark.parametrize("case", MENDED)
def test_download_resumes_a_broken_connection(case, server, tmp_path):
    server.plays, ranges = list(MENDED[case][0]), MENDED[case][1]
    assert get(server, tmp_path).read_bytes() == BODY
    assert names(tmp_path) == ["net.pth", "net.pth.sha256"]
    calls = [headers.get("Range") for _, headers in server.calls[1:]]
    # A lie about the length is found out by a further question.
    assert calls[: len(ranges)] == [None if start is None else f"bytes={start}-" for start in ranges]


OLD_HEAD = {
    "another ETag": ({"ETag": '"old"'}, {"ETag": '"new"'}),
    "another date": ({"ETag": None, **MONDAY}, TUESDAY),
    "the rest tells nothing": ({"ETag": '"old"'}, {}),
    "no headers": ({"ETag": None}, {}),
}


@pytest.mark.parametrize("case", OLD_HEAD)
def test_download_never_mixes_two_versions(case, tmp_path):
    """A zip is whole if its end is, so that the file itself would not tell, and a wrong hash would be kept for good."""
    of_head, of_rest = OLD_HEAD[case]
    assert len(OTHER) == len(BODY)
    with a_server.serving(OTHER) as server:
        server.plays = [a_server.breaks_at(HALF, body=BODY, **of_head)]
        if case != "no headers":
            server.plays.append(a_server.rest(**of_rest))
        assert get(server, tmp_path).read_bytes() == OTHER
    assert (tmp_path / "net.pth.sha256").read_text().startswith(hashlib.sha256(OTHER).hexdigest())


def test_download_resumes_by_a_known_hash_without_versions(server, tmp_path):
    server.plays = [a_server.breaks_at(HALF, ETag=None), a_server.rest()]
    assert get(server, tmp_path / "published", CHECKED).read_bytes() == BODY
    assert server.calls[1][1]["Range"] == f"bytes={HALF}-"
    server.plays = [a_server.breaks_at(HALF, ETag=None), a_server.rest(OTHER)]
    with pytest.raises(SourceError, match="as it was seen before"):
        get(server, tmp_path / "seen", replace(FIRST, seen_sha256=SHA256))
    assert names(tmp_path / "seen") == []


def test_download_keeps_no_part_that_it_cannot_resume(server, tmp_path):
    server.plays = [a_server.breaks_at(HALF, ETag=None), *3 * [a_server.status(503)]]
    with pytest.raises(SourceError, match=r"HTTP 503 [^;]*; give another address"):
        get(server, tmp_path)
    assert names(tmp_path) == []


def test_download_requests_the_range_of_the_same_version(server, tmp_path):
    server.plays = [a_server.breaks_at(HALF)]
    get(server, tmp_path)
    assert server.calls[1][1]["If-Range"] == server.etag


def test_download_is_resumed_by_another_run(server, tmp_path):
    server.plays = [a_server.breaks_at(HALF), *3 * [a_server.status(503)]]
    waits = Waits()
    with pytest.raises(SourceError, match=r"HTTP 503 .*the received bytes are kept: run again to resume"):
        get(server, tmp_path, waits=waits)
    assert waits == [1, 2, 4]
    assert names(tmp_path) == ["net.pth.origin.part", "net.pth.part"]
    assert get(server, tmp_path).read_bytes() == BODY
    assert server.calls[-1][1]["Range"] == f"bytes={HALF}-"
    assert names(tmp_path) == ["net.pth", "net.pth.sha256"]


def test_download_discards_a_part_of_another_url(server, tmp_path):
    server.plays = [a_server.breaks_at(HALF), *3 * [a_server.status(503)]]
    with pytest.raises(SourceError):
        get(server, tmp_path)
    with a_server.serving(OTHER) as mirror:
        assert get(server, tmp_path, url=mirror.url).read_bytes() == OTHER
        assert "Range" not in mirror.calls[0][1]


def test_download_moves_a_complete_part(server, tmp_path):
    server.plays = [a_server.breaks_at(len(BODY) - 1), *3 * [a_server.status(503)]]
    with pytest.raises(SourceError):
        get(server, tmp_path)
    with (tmp_path / "net.pth.part").open("ab") as part:
        part.write(BODY[-1:])
    before = len(server.calls)
    assert get(server, tmp_path).read_bytes() == BODY
    assert len(server.calls) == before


def test_download_keeps_an_interrupted_part(server, tmp_path):
    def interrupt(have, whole):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get(server, tmp_path, progress=interrupt)
    assert names(tmp_path) == ["net.pth.origin.part", "net.pth.part"]
    assert get(server, tmp_path).read_bytes() == BODY
    assert "Range" in server.calls[1][1]
