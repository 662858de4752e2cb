"""TOML files read into structs, and the message for each that does not fit."""

from typing import Annotated, Literal

import msgspec
import pytest

from nanoseg.errors import BundleError, UsageError
from nanoseg.utils.toml import read_toml


class Thresholds(msgspec.Struct, forbid_unknown_fields=True):
    iou: Annotated[float, msgspec.Meta(le=1)]


class Redact(msgspec.Struct, forbid_unknown_fields=True):
    mode: Literal["blur", "fill"] = "fill"


class File(msgspec.Struct, forbid_unknown_fields=True):
    thresholds: Thresholds
    redact: list[Redact] | None = None
    by_name: dict[str, Redact] = {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file or directory; is it there?"),
        (b"thresholds = ", "not TOML: "),
        (b"\xff\xfe", "wanted UTF-8 text, got UTF-16"),
        (b"", "Object missing required field `thresholds`"),
        (b"[thresholds]\niou = 1.5", r"thresholds\.iou: Expected `float` <= 1\.0"),
        (b"[thresholds]\niuo = 0.5", "thresholds: Object contains unknown field `iuo`; did you mean iou"),
        (
            b"thresholds = {iou = 1}\nx = 1",
            "Object contains unknown field `x`; wanted one of thresholds, redact, by_name",
        ),
        (b"thresholds = {iou = 1}\n[[redact]]\nmode = 'x'", r"redact\[0\]\.mode: .* 'x'; wanted one of blur, fill"),
        (b"thresholds = {iou = 1}\n[by_name.a]\nmode = 'x'", r"by_name\[\.\.\.\]\.mode: .*; wanted one of blur, fill"),
    ],
)
@pytest.mark.parametrize("error", [UsageError, BundleError])
def test_toml_refuses(tmp_path, content, message, error):
    path = tmp_path / "a.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=rf"a\.toml: {message}"):
        read_toml(path, File, error, missing_hint="; is it there?")


def test_toml_reads(tmp_path):
    (tmp_path / "a.toml").write_text("[thresholds]\niou = 0.5\n")
    assert read_toml(tmp_path / "a.toml", File) == File(Thresholds(0.5))
    assert read_toml(tmp_path / "a.toml", dict) == {"thresholds": {"iou": 0.5}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a = " + "[" * 1000 + "]" * 1000, "line 1: brackets are nested too deep; wanted at most 32 levels"),
        ("\na = " + "{a = " * 1000, "line 2: brackets are nested too deep; wanted at most 32 levels"),
        ("a = [\n# [\n'[' " + "[" * 40, "line 3: brackets are nested too deep; wanted at most 32 levels"),
        ("\n\na = " + "9" * 5000, "line 3: wanted a number of at most 64 digits, got 5000"),
        ("a = 0x" + "f" * 5000, "line 1: wanted a number of at most 64 digits, got 5002"),
        (".".join(["a"] * 300_000) + " = 1", "line 1: wanted at most 32 parts in a key, got 300000"),
        (" . ".join(['"a"'] * 100_000) + " = 1", "line 1: wanted at most 32 parts in a key, got 100000"),
        ("[" + ".".join(["'a'"] * 100_000) + "]", "line 1: wanted at most 32 parts in a key, got 100000"),
        ("a = 1\na = 2", "not TOML: Cannot overwrite a value"),
        ('a = "' + '\\"' * 300_000, "not TOML: "),
    ],
)
def test_toml_refuses_what_takes_for_ever(tmp_path, content, message):
    (tmp_path / "a.toml").write_text(content)
    with pytest.raises(UsageError, match=rf"a\.toml: {message}"):
        read_toml(tmp_path / "a.toml", dict)


def test_toml_takes_what_only_looks_extreme(tmp_path):
    text = f"""
        dots = "{"a." * 100}"   # {"[" * 100}
        digits = '{"9" * 100}'
        brackets = \"\"\"{"[" * 100}
        {"{" * 100}\"\"\"
        a.b.c.d = [[1.5], [{{e = [2]}}]]
    """
    (tmp_path / "a.toml").write_text(text)
    assert read_toml(tmp_path / "a.toml", dict)["a"]["b"]["c"]["d"] == [[1.5], [{"e": [2]}]]
