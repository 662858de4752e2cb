"""benchmarks/track.py: what differs is told, what does not is not, and each side runs its own nanoseg."""

import subprocess
import sys
from typing import ClassVar

import numpy as np
import pytest

import track
from environment import ROOT, commit
from nanoseg.errors import UsageError

RNG = np.random.default_rng(0)


def medians(factor, noise=0.01, count=12):
    return list(10 * factor * np.exp(RNG.normal(0, noise, count)))


@pytest.mark.parametrize(("factor", "word"), [(1.0, "equal"), (1.1, "slower"), (0.9, "faster")])
def test_compare_says_what_differs_beyond_noise(factor, word):
    found = track.compare({"nms": medians(1)}, {"nms": medians(factor)})["nms"]
    assert found["word"] == word
    assert found["low"] <= found["ratio"] <= found["high"]
    assert found["ratio"] == pytest.approx(factor, rel=0.03)


def test_compare_adjusts_the_intervals_for_the_number_of_figures():
    there, here = medians(1), medians(1)
    alone = track.compare({"0": there}, {"0": here})["0"]
    among = track.compare({str(i): there for i in range(20)}, {str(i): here for i in range(20)})["0"]
    assert among["low"] < alone["low"] <= alone["high"] < among["high"]


def test_compare_leaves_out_what_one_side_did_not_measure():
    found = track.compare({"new": medians(1), "short": medians(1, count=7)}, {"new": medians(1, count=11), "short": []})
    assert found == {}


class FakeSide:
    """A side that takes 1 ms there and 2 ms here, and lacks one part there."""

    order: ClassVar[list[tuple[str, str]]] = []

    def __init__(self, root):
        self.root = root

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def measure(self, part):
        self.order.append((self.root, part))
        if part == "masks" and self.root == "there":
            return {"error": "ImportError: no such name"}
        return {part: {"there": 1.0, "here": 2.0}[self.root]}


def test_measure_takes_turns_and_keeps_a_median_a_pair(monkeypatch):
    monkeypatch.setattr(track, "Side", FakeSide)
    monkeypatch.setattr(FakeSide, "order", [])
    found = track.measure(("there", "here"), ["prepare", "masks", "host"], 8, 2)
    assert found["failed"] == {"masks": "there: ImportError: no such name"}
    assert {name: each["word"] for name, each in found["comparisons"].items()} == {
        "prepare": "slower",
        "host": "slower",
    }
    assert found["comparisons"]["prepare"]["ratio"] == 2.0
    first, second = [root for root, part in FakeSide.order if part == "prepare"][:4:2]
    assert {first, second} == {"there", "here"}  # who goes first changes
    assert sum(part == "host" for _, part in FakeSide.order) == 16  # once a pair


def test_lines_name_what_changed():
    figures = {"against": "abc", **track_figures("slower"), "failed": {"host": "here: no compiler"}}
    *_, left_out, last = track.lines(figures)
    assert left_out == "host: left out, here: no compiler"
    assert last == "against abc: nms slower"
    assert [*track.lines({**figures, **track_figures("equal")})][-1] == "against abc: nothing differs beyond noise"


def track_figures(word):
    return {"comparisons": {"nms": {"there_ms": 1, "here_ms": 2, "ratio": 2, "low": 1.5, "high": 2.5, "word": word}}}


def test_work_trees_are_the_commit_and_this_checkout_and_are_removed():
    with track.work_trees("HEAD") as (there, here):
        assert commit(there) == commit(ROOT).removesuffix("+changes")
        assert (there / "nanoseg" / "__init__.py").exists()
        assert (here / "benchmarks" / "track.py").read_bytes() == (ROOT / "benchmarks" / "track.py").read_bytes()
        assert not (here / ".git").exists()
    assert not there.exists()
    assert not here.exists()


def test_against_no_commit_is_one_line():
    with pytest.raises(UsageError, match="--against: wanted a commit, got no-such"), track.work_trees("no-such"):
        pass


def test_a_side_measures_its_own_nanoseg(tmp_path):
    with track.Side(ROOT) as side:
        assert side.measure("suppression")["nms"] > 0
        assert side.measure("no such part") == {"error": "KeyError: 'no such part'"}
    command = [sys.executable, track.SIDE, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(ROOT)})
    assert done.returncode == 1
    assert f"wanted nanoseg of {tmp_path}" in done.stderr
