"""What passes over an RTSP connection: requests and answers as text, and packets of RTP and RTCP between them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_LENGTH = re.compile(rb"(?im)^content-length:\s*(\d{1,9})\s*$")
_MAX_HEADER, _MAX_BODY = 1 << 16, 1 << 20
_RTP_HEADER, _SENDER_REPORT = 12, 200
_H264_FRAGMENT, _H264_KEY = 28, 5
_H265_FRAGMENT, _H265_KEY = 49, range(16, 22)


class Part(NamedTuple):
    """One part of a connection, with the bytes that it was."""

    data: bytes
    channel: int | None = None  # of a packet; None: text

    @property
    def payload(self) -> bytes:
        """The packet without its four bytes of framing."""
        return self.data[4:]

    def with_payload(self, payload: bytes) -> Part:
        """Return a packet with another payload of the same length."""
        return Part(self.data[:4] + payload, self.channel)


class Parts:
    """Take one direction of a connection apart."""

    def __init__(self) -> None:
        """Start at the connection's begin."""
        self._data = b""

    def feed(self, data: bytes) -> Iterator[Part]:
        """Yield the parts that are complete. What is neither text nor packets passes as text once it is too long."""
        self._data += data
        while self._data:
            if self._data[0] == ord("$"):
                size = 4 + int.from_bytes(self._data[2:4], "big")
                channel = self._data[1] if len(self._data) > 1 else 0
            else:
                channel, size = None, self._text_size()
            if len(self._data) < max(size, 4) or not size:
                return
            part, self._data = self._data[:size], self._data[size:]
            yield Part(part, channel)

    def _text_size(self) -> int:
        """Return the length of the text that comes next, 0 where its end has not come."""
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            return len(self._data) if len(self._data) > _MAX_HEADER else 0
        found = _LENGTH.search(self._data[: end + 2])
        length = int(found[1]) if found else 0
        return end + 4 + (length if length <= _MAX_BODY else 0)  # a body that is longer passes in pieces


def is_rtcp(part: Part) -> bool:
    """Return whether a packet is RTCP, which goes over odd channels."""
    return part.channel is not None and part.channel % 2 == 1


def rtp_time(part: Part) -> bytes:
    """Return the time of an RTP packet, which all packets of one picture have in common."""
    return part.payload[4:8]


def begins_keyframe(part: Part, codec: str) -> bool:
    """Return whether an RTP packet holds a slice of a keyframe, or begins one.

    Args:
        part: a packet of RTP.
        codec: "H264" or "H265"; of others no packet is one.
    """
    payload = part.payload
    if len(payload) < _RTP_HEADER + 3:
        return False
    unit = payload[_RTP_HEADER + 4 * (payload[0] & 15) :]
    if codec == "H264" and len(unit) > 1:
        kind = unit[0] & 31
        return (unit[1] & 31 if kind == _H264_FRAGMENT else kind) == _H264_KEY
    if codec == "H265" and len(unit) > 2:
        kind = unit[0] >> 1 & 63
        return (unit[2] & 63 if kind == _H265_FRAGMENT else kind) in _H265_KEY
    return False


def with_time_moved(part: Part, seconds: float, clock_hz: int = 90_000) -> Part:
    """Return a packet whose clock is another: the time of RTP, and both times of RTCP's sender reports."""
    payload = bytearray(part.payload)
    if not is_rtcp(part):
        if len(payload) >= _RTP_HEADER:
            _add(payload, 4, round(seconds * clock_hz))
    elif len(payload) >= 20 and payload[1] == _SENDER_REPORT:
        _add(payload, 8, round(seconds))
        _add(payload, 16, round(seconds * clock_hz))
    return part.with_payload(bytes(payload))


def _add(payload: bytearray, at: int, value: int) -> None:
    before = int.from_bytes(payload[at : at + 4], "big")
    payload[at : at + 4] = ((before + value) & 0xFFFFFFFF).to_bytes(4, "big")
