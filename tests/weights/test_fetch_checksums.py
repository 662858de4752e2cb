"""Files in the folder: fetched once, checked against the first hash, replaced by a flag."""

import fcntl
import hashlib
import os
import re
import shutil
from dataclasses import replace

import pytest

from nanoseg.errors import SourceError, UsageError
from nanoseg.weights.fetch import trust
from tests.fakes import file_server as a_server
from tests.helpers.verbs import verb
from tests.weights.small_files import BODY, CHECKED, FIRST, OTHER, SHA256, get, names

fetch_verb = verb("fetch")


@pytest.mark.parametrize("weights", [FIRST, CHECKED, replace(FIRST, md5=hashlib.md5(BODY).hexdigest())])
def test_fetch_downloads_once(server, tmp_path, weights):
    seen = []
    path = get(server, tmp_path / "new" / "weights", weights, progress=lambda have, whole: seen.append((have, whole)))
    assert path.read_bytes() == BODY
    assert seen[-1] == (len(BODY), len(BODY))
    assert [have for have, _ in seen] == sorted({have for have, _ in seen})
    published = weights.sha256 or weights.md5
    assert names(path.parent) == ["net.pth"] if published else ["net.pth", "net.pth.sha256"]
    assert get(server, path.parent, weights) == path
    assert len(server.calls) == 1


def test_fetch_keeps_the_hash_for_sha256sum(server, tmp_path):
    get(server, tmp_path)
    assert (tmp_path / "net.pth.sha256").read_text() == f"{SHA256}  net.pth\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_fetch_on_a_full_disk(server, tmp_path):
    (tmp_path / "net.pth.part").symlink_to("/dev/full")
    with pytest.raises(
        UsageError, match=r"net\.pth\.part: cannot be written: No space left on device; free some space"
    ):
        get(server, tmp_path)
    assert names(tmp_path) == []


def test_fetch_checks_disk_space_first(server, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 8, 1000))
    with pytest.raises(UsageError, match=r"needs 300,\d+ bytes of disk space, 1,000 are free; .*--out"):
        get(server, tmp_path)
    assert names(tmp_path) == []


def test_fetch_refuses_a_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UsageError, match="--out"):
        get(server, tmp_path / "taken")
    (tmp_path / "net.pth").mkdir()
    with pytest.raises(UsageError, match="got a folder"):
        get(server, tmp_path)
    assert server.calls == []


def test_fetch_runs_in_one_process_at_a_time(server, tmp_path):
    with (tmp_path / "net.pth.part").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="another process is fetching it"):
            get(server, tmp_path)
    assert server.calls == []
    assert get(server, tmp_path).read_bytes() == BODY


def test_fetch_refuses_a_later_download_that_differs(server, tmp_path):
    get(server, tmp_path).unlink()
    server.body = OTHER
    with pytest.raises(SourceError, match=rf"wanted sha256 {SHA256}, as it was seen before, got .*--forget-hash"):
        get(server, tmp_path)
    assert names(tmp_path) == ["net.pth.sha256"]
    path = get(server, tmp_path, forget_hash=True)
    assert path.read_bytes() == OTHER
    assert (tmp_path / "net.pth.sha256").read_text().startswith(hashlib.sha256(OTHER).hexdigest())
    path.unlink()
    assert get(server, tmp_path).read_bytes() == OTHER


def test_fetch_forget_hash_replaces_the_file_at_the_end(server, tmp_path):
    path = get(server, tmp_path)
    server.plays = [a_server.status(404)]
    with pytest.raises(SourceError, match="404"):
        get(server, tmp_path, forget_hash=True)
    assert path.read_bytes() == BODY
    assert get(server, tmp_path).read_bytes() == BODY
    with pytest.raises(UsageError, match="--forget-hash: the checksum of net is published"):
        get(server, tmp_path, CHECKED, forget_hash=True)


def test_fetch_checks_an_existing_file(server, tmp_path):
    path = get(server, tmp_path)
    path.write_bytes(OTHER)
    with pytest.raises(SourceError, match="where you trust it: --trust-file, else move it away and run again") as got:
        get(server, tmp_path)
    assert "--forget-hash" not in str(got.value)  # which would replace it
    path.write_bytes(BODY)
    (tmp_path / "net.pth.sha256").write_text("damaged\n")
    with pytest.raises(UsageError, match=r"net\.pth\.sha256: wanted a sha256"):
        get(server, tmp_path)
    (tmp_path / "net.pth.sha256").unlink()  # as if the user had put the file there
    get(server, tmp_path)
    assert (tmp_path / "net.pth.sha256").read_text().startswith(SHA256)
    assert len(server.calls) == 1


@pytest.mark.parametrize("weights", [FIRST, replace(FIRST, seen_sha256=SHA256)])
def test_trust_accepts_an_own_copy(weights, server, tmp_path):
    place = tmp_path / "net.pth"
    with pytest.raises(UsageError, match=r"--trust-file: .*net\.pth: no such file"):
        trust(weights, tmp_path)
    place.write_bytes(b"<html>")
    with pytest.raises(SourceError, match="wanted a file of torch"):
        trust(weights, tmp_path)
    assert names(tmp_path) == ["net.pth"]
    place.write_bytes(OTHER)
    assert trust(weights, tmp_path) == place
    assert (tmp_path / "net.pth.sha256").read_text() == f"{hashlib.sha256(OTHER).hexdigest()}  net.pth\n"
    assert get(server, tmp_path, weights).read_bytes() == OTHER
    place.write_bytes(BODY)  # what was trusted before counts no more
    trust(weights, tmp_path)
    assert get(server, tmp_path, weights).read_bytes() == BODY
    assert server.calls == []


def test_fetch_verb_error_names_the_flag_that_helps(tmp_path, capsys):
    place = tmp_path / "resnet18_image_encoder.onnx"
    mine = b"\x3a\x00\x42\x00"  # an empty graph, an empty set of operators
    place.write_bytes(mine)
    assert fetch_verb(["nanosam-encoder", "--out", str(tmp_path)]) == 3
    flag = re.search(r"where you trust it: (--[a-z-]+)", capsys.readouterr().err)[1]
    assert fetch_verb(["nanosam-encoder", "--out", str(tmp_path), flag]) == 0
    assert fetch_verb(["nanosam-encoder", "--out", str(tmp_path)]) == 0
    assert place.read_bytes() == mine
