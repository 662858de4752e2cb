"""What the capture process and its parent share: slots, messages, fingerprints."""

import os
import subprocess
import sys

import numpy as np
import pytest

from nanoseg.sources.capture.frame_slots import SLOTS, FrameSlots, SlotReader
from nanoseg.sources.capture.messages import Lines, encode
from nanoseg.sources.capture.process import Fingerprint, plausible_time


@pytest.fixture
def reader():
    reader = SlotReader()
    yield reader
    reader.close()


def picture(seed, height, width):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_frame_slots_hold_frames_until_they_are_released(reader):
    slots, held = FrameSlots(reader.descriptor), []
    for seed in range(200):  # each size for a while, the largest ones in the middle
        side = 16 + 16 * (min(seed, 200 - seed) // 10)
        image = picture(seed, side, 2 * side)
        written = slots.write(image[:, ::-1] if seed % 2 else image)
        if written is None:
            assert len(held) >= SLOTS
        else:
            held.append((written[0], image[:, ::-1] if seed % 2 else image))
        for offset, expected in held:  # those of another size, too
            assert (reader.view(offset, *expected.shape[:2]) == expected).all()
        if seed % 3 != 1 and held:
            slots.release(held.pop(0)[0])
    for offset, _ in held:
        slots.release(offset)
        slots.release(offset)  # twice is once
    for seed in range(SLOTS):
        assert slots.write(picture(seed, 4, 4)) is not None
    assert slots.write(picture(0, 4, 4)) is None


def test_frame_slots_keep_no_memory_of_sizes_that_are_gone(reader):
    slots = FrameSlots(reader.descriptor)
    for side in range(100, 700, 10):
        slots.release(slots.write(picture(0, side, side))[0])
    used_bytes = 512 * os.fstat(reader.descriptor).st_blocks
    assert used_bytes <= SLOTS * 700 * 700 * 3


@pytest.mark.parametrize(
    ("offset", "height", "width"), [(-3, 4, 4), (0, 0, 4), (0, 4, -4), (1 << 40, 4, 4), (0, 4, 1 << 40)]
)
def test_frame_slots_refuse_frames_that_are_not_there(reader, offset, height, width):
    FrameSlots(reader.descriptor).write(picture(0, 4, 4))
    with pytest.raises(ValueError, match="no frame"):
        reader.view(offset, height, width)


def test_messages_arrive_however_they_are_cut():
    sent = [("opened", {"description": "1 é\n", "fps": None}), ("closed", True), ("lost", "why")]
    data = b"".join(encode({kind: value}) for kind, value in sent)
    for size in (1, 2, 7, len(data)):
        lines = Lines()
        parts = [data[start : start + size] for start in range(0, len(data), size)]
        assert [message for part in parts for message in lines.feed(part)] == sent


@pytest.mark.parametrize("data", [b"\xff\n", b"{}\n", b"[1]\n", b'{"a": 1, "b": 2}\n', b"x" * 100_000])
def test_messages_refuse_garbage(data):
    with pytest.raises(ValueError):  # noqa: PT011 - whatever it says
        list(Lines().feed(data))


def test_fingerprint_tells_a_picture_that_differs_in_one_value():
    fingerprint, image = Fingerprint(), picture(0, 90, 130)
    first, second, third = (fingerprint.read(image) for _ in range(3))
    assert None not in first
    assert first == second == third
    changed = image.copy()
    changed[33, 77, 1] ^= 1  # between the pixels that are compared first
    sample, checksum = fingerprint.read(changed)
    assert sample == first[0]
    assert checksum not in (None, first[1])
    assert fingerprint.read(picture(1, 90, 130))[1] is None  # that is plain from some pixels


@pytest.mark.parametrize(
    ("captured_s", "expected_s"),
    [(100.0, 100.0), (99.0, 99.0), (90.0, 90.0), (89.9, 100.0), (100.05, 100.05), (100.06, 100.0), (0.0, 100.0)],
)
def test_a_clock_that_jumped_is_not_believed(captured_s, expected_s):
    assert plausible_time(round(captured_s * 1e9), 100 * 10**9) == round(expected_s * 1e9)


def test_memory_of_a_process_is_bounded():
    """What a hostile server sends without end is a MemoryError, and not the machine's memory."""
    code = "from nanoseg.sources.capture.process import bound_memory; bound_memory(1 << 29); bytearray(1 << 30)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.stderr.splitlines()[-1] == "MemoryError"
