"""TOML files read into structs, and the message for each that does not fit."""

from typing import Annotated

import msgspec
import pytest

from nanoseg.errors import BundleError, UsageError
from nanoseg.utils.toml import read_toml


class Thresholds(msgspec.Struct, forbid_unknown_fields=True):
    iou: Annotated[float, msgspec.Meta(le=1)]


class File(msgspec.Struct, forbid_unknown_fields=True):
    thresholds: Thresholds


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file or directory; is it there?"),
        (b"thresholds = ", "not TOML: "),
        (b"\xff\xfe", "not TOML: "),
        (b"", "Object missing required field `thresholds`"),
        (b"[thresholds]\niou = 1.5", r"thresholds\.iou: Expected `float` <= 1\.0"),
        (b"[thresholds]\niuo = 0.5", "thresholds: Object contains unknown field `iuo`"),
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
