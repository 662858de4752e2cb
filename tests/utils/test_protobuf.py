"""Protobuf's wire format, read and written without the protobuf package."""

import pytest

from nanoseg.utils.protobuf import mapped_file, read_fields, read_spans, read_text, write_field

FIELDS = [(1, 0), (2, 127), (3, 128), (1, 2**40), (15, "name"), (16, ""), (300, b"\x00\xff")]


def test_protobuf_reads_what_it_writes(tmp_path):
    path = tmp_path / "message"
    path.write_bytes(b"".join(write_field(number, value) for number, value in FIELDS))
    with mapped_file(path) as content:
        found = [
            (number, value if isinstance(value, int) else bytes(content[slice(*value)]))
            for number, value in read_fields(content)
        ]
        assert [read_text(content, span) for span in read_spans(content, None, 15)] == ["name"]
    assert found == [(number, v.encode() if isinstance(v, str) else v) for number, v in FIELDS]


def test_protobuf_skips_numbers_of_fixed_length():
    fixed = bytes([1 << 3 | 1, *range(8), 2 << 3 | 5, *range(4)])
    assert [number for number, _ in read_fields(memoryview(fixed + write_field(3, 4)))] == [1, 2, 3]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (write_field(1, b"abc")[:-1], "cut short"),
        (write_field(1, 300)[:-1], "cut short"),
        (bytes([1 << 3 | 5, 0]), "cut short"),
        (bytes([1 << 3 | 3]), "wire type 3"),
        (b"\xff" * 11, "too long"),
    ],
)
def test_protobuf_refuses_other_bytes(content, reason):
    with pytest.raises(ValueError, match=reason):
        list(read_fields(memoryview(content)))
