"""RTSP connections taken apart: any cut of the bytes gives the same parts; keyframes and clocks of RTP."""

import struct

import numpy as np
import pytest

from nanoseg.sources.rtsp_stream import Part, Parts, begins_keyframe, is_rtcp, with_time_moved

TEXT = b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 6\r\n\r\nv=0\r\n$"
SHORT = b"OPTIONS rtsp://a RTSP/1.0\r\nCSeq: 2\r\n\r\n"


def packet(payload, channel=0):
    return b"$" + bytes([channel]) + len(payload).to_bytes(2, "big") + payload


def rtp(unit, at=1000, csrc=0):
    return packet(struct.pack(">BBHII", 0x80 | csrc, 96, 7, at, 99) + bytes(4 * csrc) + unit)


@pytest.mark.parametrize("seed", range(20))
def test_parts_are_the_same_however_the_bytes_come(seed):
    wanted = [TEXT, packet(b"abc"), packet(b"", 1), SHORT, packet(bytes(5000), 2), TEXT, packet(b"$$$$", 3)]
    data, draw = b"".join(wanted), np.random.default_rng(seed)
    cuts = np.sort(draw.integers(0, len(data), 12))
    parts = Parts()
    found = [part for piece in np.split(np.frombuffer(data, np.uint8), cuts) for part in parts.feed(piece.tobytes())]
    assert [part.data for part in found] == wanted
    assert [part.channel for part in found] == [None, 0, 1, None, 2, None, 3]


def test_text_without_end_is_not_kept_for_ever():
    assert [len(part.data) for part in Parts().feed(b"x" * 100_000)] == [100_000]
    head = b"RTSP/1.0 200 OK\r\nContent-Length: 999999999\r\n\r\n"
    assert [part.data for part in Parts().feed(head + b"v=0")] == [head]


@pytest.mark.parametrize(
    ("unit", "codec", "expected"),
    [
        (b"\x65\0\0", "H264", True),
        (b"\x41\0\0", "H264", False),
        (b"\x7c\x85\0", "H264", True),  # a fragment that begins an IDR slice
        (b"\x7c\x45\0", "H264", True),  # one that ends it
        (b"\x7c\x81\0", "H264", False),
        (b"\x26\x01\0", "H265", True),  # IDR_W_RADL
        (b"\x02\x01\0", "H265", False),
        (b"\x62\x01\x93", "H265", True),  # a fragment
        (b"\x62\x01\x81", "H265", False),
        (b"\x65\0\0", "", False),
        (b"\x65", "H264", False),
    ],
)
@pytest.mark.parametrize("csrc", [0, 2])
def test_begins_keyframe(unit, codec, expected, csrc):
    assert begins_keyframe(Part(rtp(unit, csrc=csrc), 0), codec) is expected


@pytest.mark.parametrize("seconds", [-3600.0, -1.5, 0.0, 2.0, 86400.0])
def test_a_moved_clock_moves_both_times_alike_and_back(seconds):
    report = Part(packet(struct.pack(">BBHIIIIII", 0x80, 200, 6, 9, 4_000_000_000, 5, 1000, 1, 2), 1), 1)
    media = Part(rtp(b"\x65abc"), 0)
    moved_report, moved = with_time_moved(report, seconds), with_time_moved(media, seconds)
    assert is_rtcp(report)
    assert not is_rtcp(media)
    assert (struct.unpack(">I", moved.payload[4:8])[0] - 1000 - round(seconds * 90_000)) % (1 << 32) == 0
    assert moved_report.payload[16:20] == moved.payload[4:8]
    assert struct.unpack(">I", moved_report.payload[8:12])[0] - 4_000_000_000 == round(seconds)
    assert with_time_moved(moved, -seconds) == media


def test_other_reports_keep_their_bytes():
    receiver = Part(packet(bytes([0x80, 201]) + bytes(30), 1), 1)
    assert with_time_moved(receiver, 10) == receiver
