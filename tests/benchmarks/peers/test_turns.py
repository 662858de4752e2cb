"""benchmarks/peers/turns.py: sides take turns, and ratios are ours / theirs."""

import pytest

from peers.turns import compare, medians, ratio, take_turns, timed


def test_take_turns_rotates_who_goes_first_and_drops_the_warm_up():
    order = []

    def side(name):
        def turn(index):
            order.append((index, name))
            return {"total": float(index)}

        return turn

    spent = take_turns({name: side(name) for name in "abc"}, rounds=3, warm_up=1)
    assert [index for index, _ in order] == [-1] * 3 + [0] * 3 + [1] * 3 + [2] * 3
    rounds = ["".join(name for at, name in order if at == index) for index in range(3)]
    assert rounds == ["abc", "bca", "cab"]
    assert spent == {name: [{"total": 0.0}, {"total": 1.0}, {"total": 2.0}] for name in "abc"}


def test_timed_calls_with_the_round():
    seen = []
    assert timed(seen.append)(7)["total"] >= 0
    assert seen == [7]


@pytest.mark.parametrize(("ours", "theirs", "wanted"), [(2.0, 4.0, 0.5), (6.0, 2.0, 3.0), (1.5, 1.5, 1.0)])
def test_ratio_is_ours_by_theirs(ours, theirs, wanted):
    found = ratio([ours] * 10, [theirs] * 10, "share")
    assert found == {"share": wanted, "share_low": wanted, "share_high": wanted}


def test_compare_has_medians_and_ratio():
    spent = {
        "ours": [{"total": 1.0, "host": 0.5}] * 8 + [{"total": 9.0, "host": 2.0}],
        "peer": [{"total": 2.0}] * 9,
    }
    found = compare(spent, "ours", "peer")
    assert (found["ours_ms"], found["peer_ms"], found["ratio"]) == (1.0, 2.0, 0.5)
    assert found["ratio_low"] <= found["ratio"] <= found["ratio_high"]
    assert medians(spent["ours"]) == {"total": 1.0, "host": 0.5}
