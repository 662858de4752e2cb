"""`nanoseg run --track`: identities in the results, and what is refused."""

import json
import sys

import pytest

from nanoseg.commands.arguments.run import run as arguments
from nanoseg.commands.options import TrackerChoice
from nanoseg.tracking.tracker import TRACKERS

PARTS = "parts://?seed=3&size=64x48&objects=2"


def test_the_command_line_offers_every_tracker():
    assert tuple(each.value for each in TrackerChoice) == TRACKERS
    assert "tracker" in arguments.__annotations__


def test_detection_is_left_out_with_tracks_alone(oracle, call):
    code, out, err = call("run", PARTS, "--limit", 2, "--detect-every", 3)
    assert (code, out) == (2, "")
    assert "--detect-every: wanted with --track" in err


def test_a_missing_library_is_named_before_the_bundle_is_loaded(oracle, call, monkeypatch):
    monkeypatch.setitem(sys.modules, "trackers", None)
    monkeypatch.delitem(sys.modules, "nanoseg.tracking.library", raising=False)
    code, _, err = call("run", PARTS, "--track")
    assert code == 6
    assert 'pip install "nanoseg[track]"' in err
    assert not hasattr(oracle, "calls")


@pytest.mark.parametrize("flags", [["--track"], ["--tracker", "oc-sort"], ["--tracker", "mcbyte"]])
@pytest.mark.parametrize("live", [False, True])
def test_results_have_identities(oracle, call, tmp_path, flags, live):
    pytest.importorskip("trackers")
    results = tmp_path / "found.jsonl"
    extra = ["--live"] if live else []
    assert call("run", PARTS, "--limit", 6, "--results", results, *flags, *extra)[0] == 0
    ids = [each["track_id"] for line in results.read_text().splitlines() for each in json.loads(line)["objects"]]
    assert len(ids) == 6
    assert ids[-1] == 1
    assert set(ids) <= {None, 1}
