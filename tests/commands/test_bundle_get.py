"""`nanoseg bundle get`: what it fetches, from where, and what it says; a stand-in makes the bundle in no time."""

import json
import re
import shutil
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest

from nanoseg.bundle import EMBEDDED_FOLDER, open_bundle
from nanoseg.bundle.manifest import MANIFEST
from nanoseg.commands import fetch as fetch_command
from nanoseg.commands.bundle import get as get_command
from nanoseg.weights.published import PUBLISHED
from tests.fakes import file_server as a_server
from tests.weights.small_files import BODY, tensors, zipped

pytest.importorskip("onnxruntime")
NAMES = ("yolo-nas-s", "yolo-nas-m", "mobile-sam", "nanosam-encoder")


def graph(seed):
    """The least that passes for an ONNX model."""
    return b"\x3a\x02\x12\x00\x42\x02\x10\x13" + bytes([0x1A, 1, 65 + seed])


@pytest.fixture
def servers(monkeypatch, tmp_path):
    """A server for each published file, and folders of the test's own; files are small."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("NANOSEG_BUNDLES", str(tmp_path / "bundles"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with ExitStack() as stack:
        running, table = {}, []
        for seed, weights in enumerate(PUBLISHED):
            if weights.name in NAMES:
                kind = {"safetensors": tensors, "pt": zipped, "onnx": graph}[weights.file.rpartition(".")[2]]
                body = kind(seed) if kind is not tensors else tensors(np.arange(seed + 2))
                first, mirror = (stack.enter_context(a_server.serving(body)) for _ in range(2))
                running[weights.name] = (first, mirror)
                unchecked = {"bytes": None, "sha256": None, "seen_sha256": None}
                weights = replace(weights, url=first.url, mirrors=(mirror.url,), **unchecked)
            table.append(weights)
        monkeypatch.setattr(fetch_command, "PUBLISHED", tuple(table))
        yield running


@pytest.fixture
def made(monkeypatch):
    """What make_coco was called with; the bundle is the embedded one under these networks' names."""
    calls = []

    def make(networks, files, licence, out, progress):
        calls.append((networks, files))
        progress("composing the graphs")
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(EMBEDDED_FOLDER / "parts", out)
        text, bundle = (out / MANIFEST).read_text(encoding="utf-8"), open_bundle(out)
        for name, architecture in networks.architectures.items():
            text = text.replace(f'"{bundle.networks[name].architecture}"', f'"{architecture}"')
        (out / MANIFEST).write_text(text, encoding="utf-8")
        return open_bundle(out)

    monkeypatch.setattr(get_command, "make_coco", make)
    return calls


def get(call, *arguments):
    return call("bundle", "get", "coco", *arguments)


def test_get_fetches_makes_and_tells_what_is_not_known(call, servers, made, tmp_path):
    code, out, err = get(call, "--accept-licence")
    assert code == 0, err
    networks, files = made[0]
    assert (networks.size, networks.encoder) == ("s", "mobile-sam")
    assert {path.name for path in files.values()} == {"yolo-nas-s.safetensors", "mobile_sam.pt"}
    assert all(path.parent == tmp_path / "cache" / "nanoseg" / "weights" for path in files.values())
    assert "no commercial use" in err
    assert "accuracy: nothing was measured" in out
    assert "has never run on one" in out
    assert "float32" in out
    assert "a synthetic one of 640x480 ran on onnxruntime" in out
    assert "nanoseg run photo.jpg --bundle coco" in out
    assert call("info", "coco")[0] == 0


def test_get_again_says_it_is_there_and_fetches_nothing(call, servers, made):
    assert get(call, "--accept-licence")[0] == 0
    code, out, _ = get(call)
    assert (code, len(made)) == (0, 1)
    assert out.startswith("parts: there already; anew with --refresh\n")
    calls = {name: len(first.calls) for name, (first, _) in servers.items()}
    assert calls == {"yolo-nas-s": 1, "yolo-nas-m": 0, "mobile-sam": 1, "nanosam-encoder": 0}
    assert get(call, "--refresh", "--accept-licence")[0] == 0
    assert len(made) == 2
    assert len(servers["mobile-sam"][0].calls) == 1  # its file is kept
    assert get(call, "--size", "s")[0] == 0
    assert len(made) == 2
    assert get(call, "--size", "m", "--accept-licence")[0] == 0
    assert made[2][0].size == "m"


def test_get_json(call, servers, made, tmp_path):
    code, out, _ = get(call, "--accept-licence", "--encoder", "nanosam", "--json", "--out", tmp_path / "mine")
    report = json.loads(out)
    assert code == 0
    assert report["bundle"] == str(tmp_path / "mine")
    assert not report["already_there"]
    assert [each["name"] for each in report["weights"]] == ["yolo-nas-s", "nanosam-encoder", "mobile-sam"]
    assert all(len(each["sha256"]) == 64 for each in report["weights"])
    assert report["picture"]["size"] == "640x480"
    assert len(report["not_measured"]) == 4
    assert report["use"].endswith(f"--bundle {tmp_path / 'mine'}")
    again = json.loads(get(call, "--json", "--out", tmp_path / "mine")[1])
    assert again["already_there"]
    assert again["picture"] is None


def test_get_makes_a_damaged_bundle_anew(call, servers, made, tmp_path):
    get(call, "--accept-licence")
    (tmp_path / "bundles" / "coco" / "embed.onnx").write_bytes(b"")
    assert get(call, "--accept-licence")[0] == 0
    assert len(made) == 2


def test_get_takes_a_mirror_where_the_publisher_fails(call, servers, made):
    first, mirror = servers["mobile-sam"]
    first.plays = [a_server.status(404)]
    code, _, err = get(call, "--accept-licence")
    assert code == 0
    assert "HTTP 404 Not Found" in err
    assert f"trying the next address, {mirror.url}" in err
    assert len(mirror.calls) == 1


def test_get_resumes_an_interrupted_download(call, servers, made, monkeypatch):
    first, _ = servers["mobile-sam"]
    fetch = get_command.fetch

    def interrupted(weights, folder, *, url, progress):
        def stop(received, total):
            if weights.name == "mobile-sam":
                raise KeyboardInterrupt

        return fetch(weights, folder, url=url, progress=stop)

    monkeypatch.setattr(get_command, "fetch", interrupted)
    code, _, err = get(call, "--accept-licence")
    assert code == 130
    assert "interrupted; run again to continue" in err
    monkeypatch.setattr(get_command, "fetch", fetch)
    assert get(call, "--accept-licence")[0] == 0
    assert first.calls[-1][1]["Range"].startswith("bytes=")
    assert len(made) == 1


FAILS = {
    "terms not accepted": ([], 2, "yolo-nas-s: read its terms: .*no commercial use.*: --accept-licence"),
    "another bundle": (["imagenet"], 2, "imagenet: no such bundle to get; wanted coco"),
    "another size": (["coco", "--size", "xl"], 2, "--size"),
}


@pytest.mark.parametrize("case", FAILS)
def test_get_refuses(case, call, servers, made):
    arguments, wanted, message = FAILS[case]
    code, out, err = call("bundle", "get", *(arguments or ["coco"]))
    assert (code, out, made) == (wanted, "", [])
    assert re.search(message, err.splitlines()[-1]), err


def test_get_offline_is_one_line(call, servers, made):
    for first, mirror in servers.values():
        first.plays, mirror.plays = [a_server.status(403)], [a_server.status(403)]
    code, out, err = get(call, "--accept-licence")
    assert (code, out, made) == (3, "", [])
    last = err.splitlines()[-1]
    assert "HTTP 403 Forbidden" in last
    assert "nanoseg fetch yolo-nas-s --out " in last
    assert last.endswith("--url")


def test_get_refuses_a_folder_that_is_no_bundle(call, servers, made, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(BODY)
    code, _, err = get(call, "--accept-licence", "--out", tmp_path / "photos")
    assert code == 2
    assert "wanted a bundle to replace, or nothing" in err
    assert not servers["mobile-sam"][0].calls


def test_bundle_names_are_found_where_get_installs_them(call, monkeypatch, tmp_path):
    monkeypatch.setenv("NANOSEG_BUNDLES", str(tmp_path))
    assert call("info", "coco") == (4, "", "nanoseg: error: coco: is not installed yet: nanoseg bundle get coco\n")
    shutil.copytree(EMBEDDED_FOLDER / "parts", tmp_path / "coco")
    assert open_bundle("coco").path == tmp_path / "coco"
    assert open_bundle("parts").path == EMBEDDED_FOLDER / "parts"
    assert "one of those installed: coco, parts\n" in call("info", "cocoa")[2]
