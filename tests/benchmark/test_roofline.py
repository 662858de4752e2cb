"""Predicted times: by hand, and laws that hold on every board."""

import itertools

import pytest

from nanoseg.benchmark.boards import BOARDS, Board, board
from nanoseg.benchmark.roofline import FramePrediction, FrameWork, Prediction, Work, decoder_work
from nanoseg.errors import UsageError

ROUND = Board("of round figures", 100, {"int8": 40, "fp16": 20, "fp32": 10}, 5, 1000)  # 70 MB a ms; 20, 10 and 5 G a ms


def a_frame(board, prepare, detect, embed, segment):
    copy = Work(1, 0)
    stages = {"prepare": prepare, "detect": detect, "embed": embed, "segment": segment}
    return FramePrediction.of(FrameWork(stages, copy, copy, copy), board)


@pytest.mark.parametrize(
    ("work", "ms", "binds"),
    [
        (Work(10, 140), 2.04, "memory"),
        (Work(500, 70), 3.0, "launches"),
        (Work(10, 140, {"fp16": 20}), 2.04, "memory"),
        (Work(10, 140, {"fp16": 30}), 3.0, "arithmetic"),
        (Work(0, 0, {"int8": 20, "fp16": 20, "fp32": 20}), 1 + 2 + 4, "arithmetic"),
    ],
)
def test_a_list_of_kernels(work, ms, binds):
    prediction = Prediction.of(work, ROUND)
    assert prediction.ms == pytest.approx(ms)
    assert prediction.binds == binds


def test_a_precision_without_a_rate():
    with pytest.raises(UsageError, match=r"^gmacs: wanted int8, fp16, fp32, got fp4$"):
        Prediction.of(Work(1, 1, {"fp4": 1}), ROUND)


def test_a_frame_by_hand():
    """Bandwidth is shared, so that detect and embed take the time of all their bytes, but each its launches alone."""
    found = a_frame(ROUND, Work(5, 70), Work(250, 140), Work(25, 210), Work(100, 350))
    assert found.side_by_side_ms == pytest.approx(5)  # embed alone takes 3.1, detect 3
    assert found.copies_ms == pytest.approx(0.012)
    assert found.call_ms == pytest.approx(0.012 + 1.02 + 5 + 5.4)
    assert found.stream_ms == pytest.approx(11)  # 770 MB


def test_side_by_side_shares_arithmetic_too():
    found = a_frame(ROUND, Work(0, 0), Work(1, 1, {"int8": 60}), Work(1, 1, {"fp16": 40}), Work(0, 0))
    assert found.side_by_side_ms == pytest.approx(3 + 4)


def test_a_stream_is_no_faster_than_its_longest_part():
    found = a_frame(ROUND, Work(0, 0), Work(1000, 0), Work(0, 7), Work(0, 7))
    assert found.stream_ms == pytest.approx(4.004)


@pytest.mark.parametrize("name", BOARDS)
@pytest.mark.parametrize(
    "works", list(itertools.permutations([Work(4, 45), Work(237, 490), Work(29, 340, {"fp16": 44})]))
)
def test_frame_bounds(name, works):
    found = a_frame(board(name), *works, Work(128, 600, {"fp32": 5}))
    alone = [found.stages[stage].ms for stage in ("detect", "embed")]
    assert max(alone) <= found.side_by_side_ms <= sum(alone)
    assert max(each.ms for each in found.stages.values()) <= found.stream_ms <= found.call_ms


def test_decoder_work_between_and_beyond_the_numbers_that_were_counted():
    counted = {1: Work(100, 10, {"fp16": 1}), 4: Work(120, 40, {"fp16": 4}), 8: Work(120, 60, {"fp16": 6})}
    assert decoder_work(counted, 0) == Work(0, 0)
    assert decoder_work(counted, 8) == counted[8]
    assert decoder_work(counted, 2) == Work(120, 20, {"fp16": 2})
    assert decoder_work(counted, 6) == Work(120, 50, {"fp16": 5})
    assert decoder_work(counted, 17) == Work(340, 130, {"fp16": 13})  # 8, 8 and 1


def test_boards_by_name():
    assert board("agx-orin").memory_gb_s == 205
    assert all(each.tera_ops["fp32"] == each.tera_ops["fp16"] / 2 for each in BOARDS.values())  # TF32
    with pytest.raises(UsageError, match=r"^device: wanted orin-nano, .*, got orin$"):
        board("orin")
