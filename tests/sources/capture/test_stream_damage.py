"""Which frames of a stream pass: a table of what FFmpeg tells, a frame a letter."""

from __future__ import annotations

import pytest

from nanoseg.sources.capture.stream_damage import DamageGate

MISSED = ["max delay reached. need to consume packet\n", "RTP: missed 3 packets\n"]
BROKEN = ["Could not find ref with POC 4\n"]
HARMLESS = ["SEI type 5 size 784 truncated at 777\n", "deprecated pixel format used\n"]
# Keyframe, other frame, marked ones, after a loss, with errors of the decoder, with harmless messages; `!`: no frame.
FRAMES = {
    "K": (True, False, [], []),
    "p": (False, False, [], []),
    "M": (True, True, [], []),
    "m": (False, True, [], []),
    "L": (True, False, MISSED, []),
    "l": (False, False, MISSED, []),
    "E": (True, False, [], BROKEN),
    "e": (False, False, [], BROKEN),
    "h": (False, False, HARMLESS, HARMLESS),
}


@pytest.mark.parametrize(
    ("frames", "pass_"),
    [
        ("KpppKp", "KpppKp"),
        ("pppKp", "...Kp"),  # joined in the middle
        ("eeKp", "..Kp"),
        ("KpmppKp", "Kp...Kp"),  # what is predicted from a damaged frame has no mark
        ("KplppKp", "Kp...Kp"),
        ("KpeppKp", "Kp...Kp"),
        ("Kp!ppKp", "Kp!..Kp"),
        ("KpMppKp", "Kp...Kp"),  # a damaged keyframe heals nothing
        ("KpLppKp", "Kp...Kp"),
        ("KphpKh", "KphpKh"),
        ("EpEpEpEpep", "....EpEpep"),  # each keyframe draws complaints, and the frames are well
        ("EpEpEpEplpEp", "....Ep" + "Ep" + "..Ep"),  # but a loss is one
        ("EpKpEpEpEp", "..Kp....Ep"),
    ],
)
def test_damage_gate_passes_whole_frames(frames: str, pass_: str) -> None:
    gate, passed, lost = DamageGate(), "", 0
    for letter in frames:
        if letter == "!":
            gate.lose(1)
            passed, lost = passed + "!", lost + 1
        else:
            passed += letter if gate.passes(*FRAMES[letter]) else "."
    assert passed == pass_
    assert gate.damaged == pass_.count(".") + lost
