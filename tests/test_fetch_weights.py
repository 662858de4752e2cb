"""Fetching weights from servers that are well and from those that are not; what lies in the folder afterwards."""

import fcntl
import hashlib
import http.client
import io
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from nanoseg.errors import SourceError, UsageError
from tests import file_server as a_server
from tools import fetch_weights
from tools.download import Line
from tools.fetch_weights import fetch, main, trust
from tools.published import PUBLISHED, Weights
from tools.web_page import form_address
from tools.weight_files import check_weights

ROOT = Path(__file__).resolve().parents[1]


def zipped(seed: int, size: int = 300_000) -> bytes:
    """Like a file of torch.save: a zip, its directory at the end; what is in it cannot be compressed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("data.pkl", np.random.default_rng(seed).bytes(size))
    return buffer.getvalue()


def tensors(values: np.ndarray) -> bytes:
    """A safetensors file of one tensor."""
    content = values.astype(np.float32).tobytes()
    told = {"dtype": "F32", "shape": values.shape, "data_offsets": [0, len(content)]}
    header = json.dumps({"w": told, "__metadata__": {"format": "pt"}}).encode()
    return struct.pack("<Q", len(header)) + header + content


BODY, OTHER = zipped(1), zipped(2)
SHA256 = hashlib.sha256(BODY).hexdigest()
FIRST = Weights("net", "net.pth", "", "decoder")  # nothing published
CHECKED = replace(FIRST, bytes=len(BODY), sha256=SHA256)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def server():
    with a_server.serving(BODY) as running:
        yield running


class Waits(list):
    """Instead of sleeping."""

    @property
    def line(self):
        return Line(timeout_s=5, tries=3, wait=self.append)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def get(server, folder, weights=FIRST, waits=None, **more):
    waits = Waits() if waits is None else waits
    return fetch(replace(weights, url=server.url), folder, line=more.pop("line", waits.line), **more)


@pytest.mark.parametrize("weights", [FIRST, CHECKED, replace(FIRST, md5=hashlib.md5(BODY).hexdigest())])
def test_a_file_is_fetched_once(server, tmp_path, weights):
    seen = []
    path = get(server, tmp_path / "new" / "weights", weights, progress=lambda have, whole: seen.append((have, whole)))
    assert path.read_bytes() == BODY
    assert seen[-1] == (len(BODY), len(BODY))
    assert [have for have, _ in seen] == sorted({have for have, _ in seen})
    published = weights.sha256 or weights.md5
    assert names(path.parent) == ["net.pth"] if published else ["net.pth", "net.pth.sha256"]
    assert get(server, path.parent, weights) == path
    assert len(server.asked) == 1


def test_the_kept_hash_is_as_sha256sum_reads_it(server, tmp_path):
    get(server, tmp_path)
    assert (tmp_path / "net.pth.sha256").read_text() == f"{SHA256}  net.pth\n"


# What the first requests get; then what the next ones were asked for. The file comes out whole each time.
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
    "it sends a range that nobody asked for": ([a_server.unasked_range], [None]),
    "it cannot serve the rest": ([a_server.breaks_at(HALF), a_server.status(416)], [HALF, None]),
    "it is busy": ([a_server.status(429), a_server.status(500)], [None, None]),
    "it sends chunks": ([a_server.chunked()], []),
    "its chunks break off": ([a_server.chunked(whole=False)], [None]),
    "it says too great a length": ([a_server.says_length(len(BODY) + 7)], [None]),
    "it leads elsewhere": ([a_server.breaks_at(HALF), a_server.redirect("/moved")], [HALF, HALF]),
}


@pytest.mark.parametrize("case", MENDED)
def test_a_break_is_mended(case, server, tmp_path):
    server.plays, ranges = list(MENDED[case][0]), MENDED[case][1]
    assert get(server, tmp_path).read_bytes() == BODY
    assert names(tmp_path) == ["net.pth", "net.pth.sha256"]
    asked = [headers.get("Range") for _, headers in server.asked[1:]]
    # A lie about the length is found out by a further question.
    assert asked[: len(ranges)] == [None if start is None else f"bytes={start}-" for start in ranges]


OLD_HEAD = {
    "another ETag": ({"ETag": '"old"'}, {"ETag": '"new"'}),
    "another date": ({"ETag": None, **MONDAY}, TUESDAY),
    "the rest tells nothing": ({"ETag": '"old"'}, {}),
    "nothing is told": ({"ETag": None}, {}),
}


@pytest.mark.parametrize("case", OLD_HEAD)
def test_no_two_versions_in_one_file(case, tmp_path):
    """A zip is whole if its end is, so that the file itself would not tell, and a wrong hash would be kept for good."""
    of_head, of_rest = OLD_HEAD[case]
    assert len(OTHER) == len(BODY)
    with a_server.serving(OTHER) as server:
        server.plays = [a_server.breaks_at(HALF, body=BODY, **of_head)]
        if case != "nothing is told":
            server.plays.append(a_server.rest(**of_rest))
        assert get(server, tmp_path).read_bytes() == OTHER
    assert (tmp_path / "net.pth.sha256").read_text().startswith(hashlib.sha256(OTHER).hexdigest())


def test_a_known_hash_does_for_a_server_that_tells_no_version(server, tmp_path):
    server.plays = [a_server.breaks_at(HALF, ETag=None), a_server.rest()]
    assert get(server, tmp_path / "published", CHECKED).read_bytes() == BODY
    assert server.asked[1][1]["Range"] == f"bytes={HALF}-"
    server.plays = [a_server.breaks_at(HALF, ETag=None), a_server.rest(OTHER)]
    with pytest.raises(SourceError, match="as it was seen before"):
        get(server, tmp_path / "seen", replace(FIRST, seen_sha256=SHA256))
    assert names(tmp_path / "seen") == []


def test_a_part_that_cannot_be_gone_on_with_is_not_kept(server, tmp_path):
    server.plays = [a_server.breaks_at(HALF, ETag=None), *3 * [a_server.status(503)]]
    with pytest.raises(SourceError, match=r"HTTP 503 [^;]*; give another address"):
        get(server, tmp_path)
    assert names(tmp_path) == []


def test_a_range_is_asked_for_the_same_version(server, tmp_path):
    server.plays = [a_server.breaks_at(HALF)]
    get(server, tmp_path)
    assert server.asked[1][1]["If-Range"] == server.etag


def test_another_run_goes_on_where_this_one_ended(server, tmp_path):
    server.plays = [a_server.breaks_at(HALF), *3 * [a_server.status(503)]]
    waits = Waits()
    with pytest.raises(SourceError, match=r"HTTP 503 .*what came is kept: run again to go on"):
        get(server, tmp_path, waits=waits)
    assert waits == [1, 2, 4]
    assert names(tmp_path) == ["net.pth.origin.part", "net.pth.part"]
    assert get(server, tmp_path).read_bytes() == BODY
    assert server.asked[-1][1]["Range"] == f"bytes={HALF}-"
    assert names(tmp_path) == ["net.pth", "net.pth.sha256"]


def test_a_part_of_another_address_is_not_gone_on_with(server, tmp_path):
    server.plays = [a_server.breaks_at(HALF), *3 * [a_server.status(503)]]
    with pytest.raises(SourceError):
        get(server, tmp_path)
    with a_server.serving(OTHER) as mirror:
        assert get(server, tmp_path, url=mirror.url).read_bytes() == OTHER
        assert "Range" not in mirror.asked[0][1]


def test_a_whole_part_is_only_put_in_place(server, tmp_path):
    server.plays = [a_server.breaks_at(len(BODY) - 1), *3 * [a_server.status(503)]]
    with pytest.raises(SourceError):
        get(server, tmp_path)
    with (tmp_path / "net.pth.part").open("ab") as part:
        part.write(BODY[-1:])
    before = len(server.asked)
    assert get(server, tmp_path).read_bytes() == BODY
    assert len(server.asked) == before


PAGE = "<!DOCTYPE html><html><head><title>Quota\n exceeded</title></head><body>Too many users</body></html>"
FORM = """<html><head><title>Virus scan warning</title></head><body>
<form action="/other"><input name="no" value="1"></form>
<form id="download-form" action="{action}" method="get"><input type="hidden" name="id" value="a&amp;b">
<input type="hidden" name="uuid" value="1-2"><input type="submit" value="Download anyway"></form></body></html>"""
REFUSED = {
    "not found": ([a_server.status(404)], FIRST, r"HTTP 404 Not Found; .*--url"),
    "forbidden": ([a_server.status(403)], FIRST, r"HTTP 403 Forbidden"),
    "gone": ([a_server.status(410)], FIRST, r"HTTP 410 Gone"),
    "a page": ([a_server.page(PAGE)], FIRST, r"got a web page 'Quota exceeded'"),
    "a page that says it is none": ([a_server.page(PAGE, "application/octet-stream")], FIRST, r"beginning b'<!DOCTYPE"),
    "a page without a title": ([a_server.page("<p>no")], FIRST, r"got a web page without a title"),
    "a form that leads to a page": ([a_server.page(FORM.format(action="/get")), a_server.page(PAGE)], FIRST, "Quota"),
    "a form that leads to a stranger": ([a_server.page(FORM.format(action="http://a.b/"))], FIRST, "Virus scan"),
    "a Git LFS pointer": (
        [a_server.page("version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n", "text/plain")],
        FIRST,
        "Git LFS pointer",
    ),
    "an empty file": ([a_server.page("", "text/plain")], FIRST, "wanted what torch saves, whole; got .* b''"),
    "a length that is not the published one": ([a_server.says_length(7)], CHECKED, r"wanted 300,\d+ bytes, .* has 7"),
    "too small a length": ([a_server.says_length(len(BODY) - 9)], FIRST, "wanted what torch saves, whole"),
    "a redirection without end": (9 * [a_server.redirect("/file")], FIRST, r"HTTP 302 .*redirect"),
    "a redirection to nowhere": ([a_server.redirect("http://a..b/")], FIRST, r"leads nowhere|cannot be reached"),
    "no length at all": ([a_server.says_length(None)], FIRST, "neither the server nor its publisher tells how long"),
    "other bytes": ([a_server.page(OTHER.decode("latin-1"), "text/plain")], CHECKED, "wanted 300"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_file_is_not_kept(case, server, tmp_path):
    plays, weights, said = REFUSED[case]
    server.plays = list(plays)
    with pytest.raises(SourceError, match=said) as caught:
        get(server, tmp_path, weights)
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == []
    # None of these is worth a second try.
    assert len(server.asked) <= max(len(plays), 2)


WRONG = {
    "sha256": (replace(CHECKED, bytes=None), "wanted sha256"),
    "md5": (replace(FIRST, md5=hashlib.md5(BODY).hexdigest()), "wanted md5"),
    "size": (replace(FIRST, bytes=len(BODY)), "bytes"),
    "what others saw": (replace(FIRST, seen_sha256=SHA256), "as it was seen before.*--forget-hash"),
}


@pytest.mark.parametrize("case", WRONG)
def test_other_bytes_are_refused(case, tmp_path):
    weights, said = WRONG[case]
    with a_server.serving(zipped(2, 299_999)) as wrong, pytest.raises(SourceError, match=said):
        get(wrong, tmp_path, weights)
    assert names(tmp_path) == []


def test_a_known_size_does_for_a_server_that_tells_none(server, tmp_path):
    server.plays = [a_server.says_length(None)]
    assert get(server, tmp_path, replace(FIRST, bytes=len(BODY))).read_bytes() == BODY


def test_a_length_that_never_comes_true_ends(server, tmp_path):
    server.plays = 9 * [a_server.says_length(len(BODY) + 7)]
    waits = Waits()
    with pytest.raises(SourceError, match=rf"broke off at {len(BODY):,} of {len(BODY) + 7:,} bytes; .*--url"):
        get(server, tmp_path, waits=waits)
    assert waits == [1, 2, 4]
    assert "net.pth" not in names(tmp_path)


@pytest.mark.parametrize("to", ["ftp://127.0.0.1:1/net.pth", "file:///etc/passwd"])
def test_a_redirection_off_the_web_is_not_followed(to, server, tmp_path):
    server.plays = [a_server.redirect(to)]
    with pytest.raises(SourceError, match=r"/file: .*not (followed|allowed).*--url"):
        get(server, tmp_path)
    assert names(tmp_path) == []


def test_https_is_not_left(server, tmp_path, monkeypatch):
    class Https(http.client.HTTPConnection):
        """HTTPS as far as urllib knows; on the wire it is HTTP."""

        def __init__(self, host, *, context=None, check_hostname=None, **more):
            super().__init__(host, **more)

    monkeypatch.setattr(http.client, "HTTPSConnection", Https)
    safe = server.url.replace("http:", "https:")
    server.plays = [a_server.redirect("/moved"), a_server.redirect(server.url)]
    with pytest.raises(SourceError, match=r"^https://.*/file: is redirected to http://.*/file, which is not followed"):
        get(server, tmp_path, url=safe)
    assert [path for path, _ in server.asked] == ["/file", "/moved"]
    server.plays = [a_server.page(FORM.format(action=server.url))]
    with pytest.raises(SourceError, match="got a web page"):
        get(server, tmp_path, url=safe)
    server.plays = [a_server.redirect(safe)]  # the other way is an improvement
    assert get(server, tmp_path).read_bytes() == BODY


@pytest.mark.parametrize(
    ("page", "action", "followed"),
    [
        ("https://a.b/x", "/get", True),
        ("https://a.b/x", "https://a.b/get", True),
        ("https://a.b/x", "http://a.b/get", False),
        ("http://a.b/x", "http://a.b/get", True),
        ("http://a.b/x", "https://a.b/get", True),
        ("http://a.b/x", "ftp://a.b/get", False),
        ("https://a.b/x", "http://drive.usercontent.google.com/get", False),
        ("https://a.b/x", "https://drive.usercontent.google.com/get", True),
        ("https://a.b/x", "javascript:alert(1)", False),
    ],
)
def test_where_a_form_may_lead(page, action, followed):
    assert (form_address(FORM.format(action=action), page) is not None) == followed


def test_a_confirmation_is_given(server, tmp_path):
    server.plays = [a_server.page(FORM.format(action="/get?confirm=t"))]
    assert get(server, tmp_path).read_bytes() == BODY
    asked = urlsplit(server.asked[1][0])
    assert asked.path == "/get"
    assert parse_qs(asked.query) == {"confirm": ["t"], "id": ["a&b"], "uuid": ["1-2"]}


@pytest.mark.parametrize("play", [a_server.stalls, a_server.silent])
def test_silence_ends(play, server, tmp_path):
    server.plays, waits = 3 * [play], Waits()
    line = Line(timeout_s=0.05, tries=1, wait=waits.append)
    with pytest.raises(SourceError, match="no answer in time"):
        get(server, tmp_path, line=line)
    assert "net.pth" not in names(tmp_path)


def test_a_closed_port(tmp_path):
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/file"
        waits = Waits()
        with pytest.raises(SourceError, match=r"cannot be reached: Connection refused; .*--url"):
            fetch(replace(FIRST, url=url), tmp_path, line=waits.line)
    assert waits == []
    assert names(tmp_path) == []


def test_an_unknown_host_and_its_mirrors(tmp_path, monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    weights = replace(FIRST, url="https://dead.example/x", mirrors=("https://copy.example/x",))
    with pytest.raises(SourceError, match=r"Name or service not known.*others keep a copy: --url https://copy"):
        fetch(weights, tmp_path)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk(server, tmp_path):
    (tmp_path / "net.pth.part").symlink_to("/dev/full")
    with pytest.raises(UsageError, match=r"net\.pth\.part: cannot be written: No space left on device; make room"):
        get(server, tmp_path)
    assert names(tmp_path) == []


def test_too_little_room_is_told_before(server, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 8, 1000))
    with pytest.raises(UsageError, match=r"wanted room for 300,\d+ bytes, there is 1,000; .*--out"):
        get(server, tmp_path)
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be(server, tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UsageError, match="--out"):
        get(server, tmp_path / "taken")
    (tmp_path / "net.pth").mkdir()
    with pytest.raises(UsageError, match="got a folder"):
        get(server, tmp_path)
    assert server.asked == []


def test_one_process_at_a_time(server, tmp_path):
    with (tmp_path / "net.pth.part").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="another process is fetching it"):
            get(server, tmp_path)
    assert server.asked == []
    assert get(server, tmp_path).read_bytes() == BODY


def test_an_interrupted_part_is_kept(server, tmp_path):
    def interrupt(have, whole):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get(server, tmp_path, progress=interrupt)
    assert names(tmp_path) == ["net.pth.origin.part", "net.pth.part"]
    assert get(server, tmp_path).read_bytes() == BODY
    assert "Range" in server.asked[1][1]


def test_later_downloads_must_be_the_first(server, tmp_path):
    get(server, tmp_path).unlink()
    server.body = OTHER
    with pytest.raises(SourceError, match=rf"wanted sha256 {SHA256}, as it was seen before, got .*--forget-hash"):
        get(server, tmp_path)
    assert names(tmp_path) == ["net.pth.sha256"]
    path = get(server, tmp_path, forget=True)
    assert path.read_bytes() == OTHER
    assert (tmp_path / "net.pth.sha256").read_text().startswith(hashlib.sha256(OTHER).hexdigest())
    path.unlink()
    assert get(server, tmp_path).read_bytes() == OTHER


def test_forgetting_fetches_anew_and_keeps_the_old_until_then(server, tmp_path):
    path = get(server, tmp_path)
    server.plays = [a_server.status(404)]
    with pytest.raises(SourceError, match="404"):
        get(server, tmp_path, forget=True)
    assert path.read_bytes() == BODY
    assert get(server, tmp_path).read_bytes() == BODY
    with pytest.raises(UsageError, match="--forget-hash: the checksum of net is published"):
        get(server, tmp_path, CHECKED, forget=True)


def test_what_lies_there_is_checked(server, tmp_path):
    path = get(server, tmp_path)
    path.write_bytes(OTHER)
    with pytest.raises(SourceError, match="where you trust it: --trust-file, else move it away and run again") as told:
        get(server, tmp_path)
    assert "--forget-hash" not in str(told.value)  # which would replace it
    path.write_bytes(BODY)
    (tmp_path / "net.pth.sha256").write_text("damaged\n")
    with pytest.raises(UsageError, match=r"net\.pth\.sha256: wanted a sha256"):
        get(server, tmp_path)
    (tmp_path / "net.pth.sha256").unlink()  # as if the user had put the file there
    get(server, tmp_path)
    assert (tmp_path / "net.pth.sha256").read_text().startswith(SHA256)
    assert len(server.asked) == 1


@pytest.mark.parametrize("weights", [FIRST, replace(FIRST, seen_sha256=SHA256)])
def test_a_copy_of_ones_own_is_trusted(weights, server, tmp_path):
    place = tmp_path / "net.pth"
    with pytest.raises(UsageError, match=r"--trust-file: .*net\.pth: no such file"):
        trust(weights, tmp_path)
    place.write_bytes(b"<html>")
    with pytest.raises(SourceError, match="wanted what torch saves"):
        trust(weights, tmp_path)
    assert names(tmp_path) == ["net.pth"]
    place.write_bytes(OTHER)
    assert trust(weights, tmp_path) == place
    assert (tmp_path / "net.pth.sha256").read_text() == f"{hashlib.sha256(OTHER).hexdigest()}  net.pth\n"
    assert get(server, tmp_path, weights).read_bytes() == OTHER
    place.write_bytes(BODY)  # what was trusted before counts no more
    trust(weights, tmp_path)
    assert get(server, tmp_path, weights).read_bytes() == BODY
    assert server.asked == []


def test_command_does_what_its_error_advises(tmp_path, capsys):
    place = tmp_path / "resnet18_image_encoder.onnx"
    mine = b"\x3a\x00\x42\x00"  # an empty graph, an empty set of operators
    place.write_bytes(mine)
    assert main(["nanosam-encoder", "--out", str(tmp_path)]) == 3
    flag = re.search(r"where you trust it: (--[a-z-]+)", capsys.readouterr().err)[1]
    assert main(["nanosam-encoder", "--out", str(tmp_path), flag]) == 0
    assert main(["nanosam-encoder", "--out", str(tmp_path)]) == 0
    assert place.read_bytes() == mine


@pytest.mark.parametrize(
    "url",
    ["ftp://a.b/c", "file:///etc/passwd", "weights.pt", "http://", "http://a:x/", "http://a b/", "http://ä.b/", ""],
)
def test_an_address_that_is_none(url, tmp_path):
    with pytest.raises(UsageError, match="--url: wanted an address like"):
        fetch(replace(FIRST, url=url), tmp_path)
    assert names(tmp_path) == []


def test_kinds_of_files(tmp_path):
    onnx = pytest.importorskip("onnx")
    torch = pytest.importorskip("torch")
    node = onnx.helper.make_node("Add", ["a", "w"], ["b"])
    values = [onnx.helper.make_tensor_value_info(name, 1, [40]) for name in "ab"]
    weight = onnx.numpy_helper.from_array(np.arange(40, dtype=np.float32), "w")
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", values[:1], values[1:], [weight]))
    torch.save({"w": torch.arange(40.0)}, tmp_path / "a.pt")
    whole = {
        "a.onnx": model.SerializeToString(),
        "a.safetensors": tensors(np.arange(40)),
        "a.pt": (tmp_path / "a.pt").read_bytes(),
    }
    for name, content in whole.items():
        path = tmp_path / f"{name}.part"
        path.write_bytes(content)
        check_weights(path, name)
        for end in range(len(content)):  # no beginning of it is one
            path.write_bytes(content[:end])
            with pytest.raises(SourceError, match=name):
                check_weights(path, name)
        for other in whole.keys() - {name}:
            path.write_bytes(whole[other])
            with pytest.raises(SourceError, match=name):
                check_weights(path, name)


def test_kinds_of_nonsense(tmp_path):
    path = tmp_path / "part"
    for seed in range(200):
        path.write_bytes(np.random.default_rng(seed).bytes(seed))
        for name in ("a.onnx", "a.safetensors"):
            with pytest.raises(SourceError):
                check_weights(path, name)
    for header in (b"[1]", b'{"w": 1}', b'{"w": {"data_offsets": []}}', b"{{", b'{"w": {"data_offsets": ["a", "b"]}}'):
        path.write_bytes(struct.pack("<Q", len(header)) + header)
        with pytest.raises(SourceError):
            check_weights(path, "a.safetensors")
    check_weights(path, "labels.txt")  # of a kind that nobody knows


def test_command_fetches_what_it_is_told(tmp_path, capsys):
    body = tensors(np.arange(1000))
    flags = ["--out", str(tmp_path), "--accept-licence"]
    with a_server.serving(body) as server:
        assert main(["yolo-nas-s", "--url", server.url, *flags]) == 0
        path = tmp_path / "yolo-nas-s.safetensors"
        told = capsys.readouterr()
        assert told.out == f"{path}\n"
        assert "Deci" in told.err
        assert main(["yolo-nas-s", "--json", *flags]) == 0
        assert json.loads(capsys.readouterr().out) == [{"name": "yolo-nas-s", "path": str(path), "bytes": len(body)}]
        server.plays = [a_server.status(404)]
        assert main(["yolo-nas-m", "--url", server.url, *flags]) == 3
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines()[-1].startswith(f"fetch_weights: {server.url}: HTTP 404")


MISUSED = {
    "terms not accepted": (["yolo-nas-l"], "read its terms: Deci.*if you accept them: --accept-licence"),
    "an unknown name": (["yolo-nas"], "no such weights; wanted one of mobile-sam, "),
    "no name": ([], "--list shows them"),
    "one address for two": (["sam-vit-b", "sam-vit-l", "--url", "http://a/b"], "--url: wanted one name"),
    "an address that is none": (["sam-vit-b", "--url", "here"], "wanted an address like"),
    "a published checksum forgotten": (["sam-vit-b", "--forget-hash"], "--forget-hash: .*is published"),
    "a published checksum overruled": (["sam-vit-b", "--trust-file"], "--trust-file: .*is published"),
    "nothing to trust": (["nanosam-decoder", "--trust-file"], "--trust-file: .*no such file"),
    "trusted and fetched": (["nanosam-decoder", "--trust-file", "--forget-hash"], "--trust-file: wanted without"),
    "trusted and told an address": (["nanosam-decoder", "--trust-file", "--url", "http://a/b"], "wanted without"),
}


@pytest.mark.parametrize("case", MISUSED)
def test_command_misused(case, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments, said = MISUSED[case]
    assert main(arguments) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.search(said, last), last
    assert not list(tmp_path.rglob("*.*"))


def test_command_interrupted(monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(fetch_weights, "fetch", interrupt)
    assert main(["sam-vit-b"]) == 130
    assert "run again to go on" in capsys.readouterr().err


def test_script_lists_from_anywhere(tmp_path):
    tool = [sys.executable, str(ROOT / "tools" / "fetch_weights.py"), "--list"]
    told = subprocess.run(tool, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert [line.split()[0] for line in told.splitlines()[1:]] == [weights.name for weights in PUBLISHED]
    listed = json.loads(subprocess.run([*tool, "--json"], cwd=tmp_path, capture_output=True, check=True).stdout)
    assert {entry["file"]: entry["licence"]["must_accept"] for entry in listed} == {
        weights.file: weights.file.startswith("yolo-nas") for weights in PUBLISHED
    }


HUB = "huggingface.co/dragonSwing/nanosam"
ROW_OF = {  # what the row that each is told in begins with, and the address as that row gives it
    "mobile-sam": ("mobile_sam.pt (", "github.com/ChaoningZhang/MobileSAM, `weights/mobile_sam.pt`"),
    "nanosam-encoder": ("NanoSAM resnet18", "Google Drive 14-SsvoaTl-esC3JOzomHDnI9OGgdO2OR"),
    "nanosam-decoder": ("NanoSAM mobile_sam_mask", "Google Drive 1jYNvnseTL49SNRx9PDcbkZ9DwsY8up7n"),
    "nanosam-b1-encoder": ("better NanoSAM", HUB),
    "nanosam-b4-encoder": ("better NanoSAM", HUB),
    "efficientvit-decoder": ("better NanoSAM", HUB),
    **{f"sam-vit-{size}": ("SAM vit_b / vit_l / vit_h", "dl.fbaipublicfiles.com/segment_anything/") for size in "blh"},
    **{
        f"yolo-nas-{size}": ("YOLO-NAS S/M/L", "huggingface.co/CondadosAI/detectors, yolo-nas-{s,m,l}.safetensors")
        for size in "sml"
    },
}
SIZES = {"sam-vit-b": 375_042_383, "sam-vit-l": 1_249_524_607, "sam-vit-h": 2_564_550_879}  # in no table


def address(told: str, file: str) -> str:
    """The URL of what a row of the table tells."""
    if told.startswith("Google Drive "):
        return f"https://drive.usercontent.google.com/download?export=download&confirm=t&id={told.split()[-1]}"
    where = told.partition(",")[0]
    if where.startswith("github.com/"):
        path = told.split("`")[1]
        return f"https://raw.githubusercontent.com/{where.removeprefix('github.com/')}/master/{path}"
    return f"https://{where}{file}" if where.endswith("/") else f"https://{where}/resolve/main/{file}"


def test_the_table_is_the_one_that_was_looked_up(shared):
    facts = (shared / "FACTS.md").read_text(encoding="utf-8")
    told = facts[facts.index("## Weights") : facts.index("YOLO-NAS pretrained weights carry")]
    rows = [line.strip("| ").split(" | ") for line in told.splitlines() if line.startswith("| ")]
    assert len({weights.file for weights in PUBLISHED}) == len(PUBLISHED)
    assert [weights.name for weights in PUBLISHED] == list(ROW_OF)
    for weights in PUBLISHED:
        begins, where = ROW_OF[weights.name]
        ((what, place, check),) = (row for row in rows if row[0].startswith(begins))
        assert where in place
        assert weights.url == address(where, weights.file)
        assert weights.licence.must_accept == ("Deci's terms" in what)
        files, sums = re.findall(r"\w+\.pth", place), re.findall(r"\b[0-9a-f]{32}\b", check)
        assert weights.md5 == dict(zip(files, sums, strict=True)).get(weights.file)
        sha256 = re.findall(r"\b[0-9a-f]{64}\b", check)
        assert [weights.sha256] == (sha256 or [None])
        size = re.search(r"([0-9,]+) bytes", check)
        if size:
            assert weights.bytes == int(size[1].replace(",", ""))
        else:
            assert weights.bytes == SIZES.get(weights.name)
        if "none" in check:
            assert weights.sha256 is weights.md5 is None
        if weights.seen_sha256:
            assert re.fullmatch("[0-9a-f]{64}", weights.seen_sha256)
            assert "none published" in check
