"""JSON read with limits, and the message for each fault."""

import msgspec
import pytest

from nanoseg.errors import BundleError, UsageError
from nanoseg.utils.json_text import parse_json, read_json


class Row(msgspec.Struct, forbid_unknown_fields=True):
    a: int


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"not JSON: Expecting value \(line 1, column 1\)"),
        ('{"a": 1}\n x', r"not JSON: Extra data \(line 2, column 2\)"),
        ("[" * 100_000, "not read: its brackets are nested too deep"),
        ('{"a":' * 100_000 + "1", "not read: its brackets are nested too deep"),
        ('{\n"a": ' + "9" * 5000 + "}", "line 2: a number of 5000 digits is too long"),
        ('{"a": 1, "a": 2}', "the key 'a' is there twice in one object"),
        ('{"a": NaN}', "wanted numbers, got NaN, which is no JSON"),
        ('{"a": -Infinity}', "wanted numbers, got -Infinity, which is no JSON"),
        ('{"a": "x"}', "a: Expected `int`, got `str`"),
        ('{"b": 1}', "Object missing required field `a`|Object contains unknown field `b`"),
        ("[]", "Expected `object`, got `array`"),
    ],
)
def test_json_refuses(tmp_path, text, message):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(BundleError, match=rf"a\.json: ({message})"):
        read_json(tmp_path / "a.json", Row, error=BundleError)


def test_json_reads(tmp_path):
    (tmp_path / "a.json").write_text('\ufeff{"a": 1}', encoding="utf-8")
    assert read_json(tmp_path / "a.json", Row) == Row(1)
    assert read_json(tmp_path / "a.json") == {"a": 1}
    assert parse_json("[NaN]", "there", allow_nan=True)[0] != 0
    with pytest.raises(UsageError, match=r"^there: not JSON"):
        parse_json("[", "there")
