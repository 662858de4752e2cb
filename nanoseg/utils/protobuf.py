"""Read and write protobuf's wire format without the protobuf package.

A field's bytes are given as a span (start, end) of the content, so that files of gigabytes are mapped, not copied.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nanoseg.utils.regular_file import open_regular

Span = tuple[int, int]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BITS = 70


@contextmanager
def mapped_file(path: Path) -> Iterator[memoryview]:
    """Map a file into memory; raises OSError where it cannot be read, ValueError where it is empty."""
    with open_regular(path) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        view = memoryview(content)
        try:
            yield view
        finally:
            view.release()


def read_fields(content: memoryview, span: Span | None = None) -> Iterator[tuple[int, int | Span]]:
    """Yield the fields of a message: the field's number, and its integer or the span of its bytes.

    Fields of fixed length (floats) are skipped: their value is the span.

    Args:
        content: bytes that hold the message.
        span: where the message lies in it; by default all of it.

    Raises:
        ValueError: the bytes are no message, or it is cut short.
    """
    at, end = span or (0, len(content))
    while at < end:
        key = content[at]
        if key < 0x80:  # nearly all of them are one byte
            at += 1
        else:
            key, at = _read_varint(content, at, end)
        number, wire_type = key >> 3, key & 7
        if number == 0:  # no field has it; a sparse file is a terabyte of them
            raise ValueError("a field without a number")
        if wire_type == _VARINT:
            value, at = _read_varint(content, at, end)
            yield number, value
            continue
        if wire_type == _BYTES:
            if at < end and (length := content[at]) < 0x80:
                at += 1
            else:
                length, at = _read_varint(content, at, end)
        elif wire_type in (_FIXED64, _FIXED32):
            length = 8 if wire_type == _FIXED64 else 4
        else:
            raise ValueError(f"a field of wire type {wire_type}")
        if at + length > end:
            raise ValueError("it is cut short")
        yield number, (at, at + length)
        at += length


def read_spans(content: memoryview, span: Span | None, number: int) -> Iterator[Span]:
    """Yield the spans of one field, which may be repeated, of the message in `span`."""
    for field, value in read_fields(content, span):
        if field == number and isinstance(value, tuple):
            yield value


def read_text(content: memoryview, span: Span) -> str:
    """Return the text in a span; raises UnicodeDecodeError where it is none."""
    return bytes(content[slice(*span)]).decode()


def write_field(number: int, value: int | str | bytes) -> bytes:
    """Return one field: an integer as a varint, text or bytes with their length before them."""
    if isinstance(value, int):
        return _write_varint(number << 3) + _write_varint(value)
    raw = value.encode() if isinstance(value, str) else value
    return _write_varint(number << 3 | _BYTES) + _write_varint(len(raw)) + raw


def copy_field(content: memoryview, number: int, value: int | Span) -> bytes:
    """Return one field as `read_fields` gives it: an integer, or the bytes of a span of the content."""
    return write_field(number, value if isinstance(value, int) else bytes(content[slice(*value)]))


def _read_varint(content: memoryview, at: int, end: int) -> tuple[int, int]:
    """Return the integer at an offset, and the offset behind it."""
    value = 0
    for shift in range(0, _MAX_VARINT_BITS, 7):
        if at >= end:
            raise ValueError("it is cut short")
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number is too long")


def _write_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
