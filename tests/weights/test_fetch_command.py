"""The command: what it prints, how it is misused, and the table of what is published."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest

from nanoseg.commands import fetch as fetch_command
from nanoseg.weights.published import PUBLISHED
from tests.fakes import file_server as a_server
from tests.helpers.paths import ROOT
from tests.helpers.verbs import verb
from tests.weights.small_files import tensors

fetch_verb = verb("fetch")


def test_fetch_verb_downloads(tmp_path, capsys):
    body = tensors(np.arange(1000))
    flags = ["--out", str(tmp_path), "--accept-licence"]
    with a_server.serving(body) as server:
        assert fetch_verb(["yolo-nas-s", "--url", server.url, *flags]) == 0
        path = tmp_path / "yolo-nas-s.safetensors"
        got = capsys.readouterr()
        assert got.out == f"{path}\n"
        assert "Deci" in got.err
        assert fetch_verb(["yolo-nas-s", "--json", *flags]) == 0
        assert json.loads(capsys.readouterr().out) == [{"name": "yolo-nas-s", "path": str(path), "bytes": len(body)}]
        server.plays = [a_server.status(404)]
        assert fetch_verb(["yolo-nas-m", "--url", server.url, *flags]) == 3
    got = capsys.readouterr()
    assert got.out == ""
    assert got.err.splitlines()[-1].startswith(f"nanoseg: error: {server.url}: HTTP 404")


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
    "trusted, with an address": (["nanosam-decoder", "--trust-file", "--url", "http://a/b"], "wanted without"),
}


@pytest.mark.parametrize("case", MISUSED)
def test_fetch_verb_misused(case, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments, printed = MISUSED[case]
    assert fetch_verb(arguments) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.search(printed, last), last
    assert not list(tmp_path.rglob("*.*"))


def test_fetch_verb_interrupted(monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(fetch_command, "fetch", interrupt)
    assert fetch_verb(["sam-vit-b"]) == 130
    assert "run again to continue" in capsys.readouterr().err


def test_fetch_script_lists_from_any_folder(tmp_path):
    tool = [sys.executable, str(ROOT / "tools" / "fetch_weights.py"), "--list"]
    got = subprocess.run(tool, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert [line.split()[0] for line in got.splitlines()[1:]] == [weights.name for weights in PUBLISHED]
    listed = json.loads(subprocess.run([*tool, "--json"], cwd=tmp_path, capture_output=True, check=True).stdout)
    assert {entry["file"]: entry["licence"]["must_accept"] for entry in listed} == {
        weights.file: weights.file.startswith("yolo-nas") for weights in PUBLISHED
    }


HUB = "huggingface.co/dragonSwing/nanosam"
ROW_OF = {  # start of the row of each file, and the address as that row spells it
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


def address(got: str, file: str) -> str:
    """The URL of what a row of the table tells."""
    if got.startswith("Google Drive "):
        return f"https://drive.usercontent.google.com/download?export=download&confirm=t&id={got.split()[-1]}"
    where = got.partition(",")[0]
    if where.startswith("github.com/"):
        path = got.split("`")[1]
        return f"https://raw.githubusercontent.com/{where.removeprefix('github.com/')}/master/{path}"
    return f"https://{where}{file}" if where.endswith("/") else f"https://{where}/resolve/main/{file}"


def test_published_table_is_the_one_that_was_looked_up(shared):
    facts = (shared / "FACTS.md").read_text(encoding="utf-8")
    got = facts[facts.index("## Weights") : facts.index("YOLO-NAS pretrained weights carry")]
    rows = [line.strip("| ").split(" | ") for line in got.splitlines() if line.startswith("| ")]
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
