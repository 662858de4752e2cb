"""benchmarks/peer.py: flags, comparisons, and what is left out."""

import json
import sys

import pytest

import peer
from nanoseg.errors import DependencyError

LACKING = peer.Peer("peers.none", 8, ("no_such_library",))


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["benchmarks/peer.py", *map(str, words)])
    return peer.main()


def test_masks_are_compared(monkeypatch, tmp_path, capsys):
    for library in ("supervision", "pycocotools"):
        pytest.importorskip(library, reason="needs nanoseg[demo]")
    out = tmp_path / "masks.json"
    words = ("masks", "--frame", "320x240", "--rounds", 8, "--objects", 3, "--work", tmp_path, "--json", out)
    assert run(monkeypatch, *words) == 0
    result = json.loads(out.read_text())
    assert (result["kind"], result["figures"]["peer"], result["figures"]["objects"]) == ("measured", "masks", 3)
    assert "--json" not in result["command"]
    assert {"ratio", "ratio_low", "ratio_high", "ours_ms", "opencv_ms", "supervision_ms"} <= result["figures"].keys()
    # What is compared is the same thing: nearly all pixels.
    assert result["figures"]["differs_px"] <= 5
    assert "ratio_supervision" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--rounds", 7), "--rounds: wanted 8 or more for an interval, got 7"),
        (("--objects", 0), "--objects: wanted 1 or more, got 0"),
    ],
)
def test_too_few_rounds_or_objects_are_refused(monkeypatch, tmp_path, capsys, words, message):
    assert run(monkeypatch, "masks", *words, "--work", tmp_path) == 2
    assert message in capsys.readouterr().err


def test_a_comparison_without_its_library_is_left_out_in_one_line(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(peer.PEERS, "masks", LACKING)
    monkeypatch.setenv("NANOSEG_PEERS_PYTHON", str(tmp_path / "none"))
    assert run(monkeypatch, "masks") == DependencyError.exit_code
    assert capsys.readouterr().err == "peer masks: left out: it needs no_such_library: make peers\n"


def test_the_other_python_is_asked_once(monkeypatch, tmp_path):
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$@" > "$(dirname "$0")/words"; echo "$PYTHONPATH" >> "$(dirname "$0")/words"\n')
    python.chmod(0o755)
    monkeypatch.setitem(peer.PEERS, "masks", LACKING)
    monkeypatch.setenv("NANOSEG_PEERS_PYTHON", str(python))
    assert run(monkeypatch, "masks", "--rounds", 9) == 0
    words = (tmp_path / "words").read_text().split()
    assert words == ["benchmarks/peer.py", "masks", "--rounds", "9", str(peer.ROOT)]
    monkeypatch.setattr(sys, "executable", str(python))  # inside of it
    with pytest.raises(DependencyError):
        peer.other_python(["no_such_library"])
