"""The directory of a zip archive: bombs are refused by it, before anything is unpacked."""

import io
import zipfile

import pytest

from nanoseg.utils.zip_directory import TooLargeError, read_directory
from tests.helpers.zip_bombs import bomb, claim, claim_directory

LIMIT = 10_000_000


def archive(path, **entries):
    with zipfile.ZipFile(path, "w") as file:
        for name, content in entries.items():
            file.writestr(name, content)


def test_zip_directory_lists_entries(tmp_path):
    archive(tmp_path / "a.zip", a=b"abc", b=bytes(LIMIT - 3))
    with (tmp_path / "a.zip").open("rb") as file:
        found = read_directory(file, LIMIT)
        assert [(entry.filename, entry.file_size) for entry in found] == [("a", 3), ("b", LIMIT - 3)]
        assert file.tell() >= 0  # still open


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: bomb(path, ["a"], 64 << 20), "unpacks to 67.1 MB; wanted at most 10 MB"),
        (lambda path: bomb(path, ["a", "b", "c"], 4 << 20), "unpacks to 12.6 MB; wanted at most 10 MB"),
        (lambda path: claim(path, 4_000_000_000), "unpacks to 8 GB; wanted at most 10 MB"),
        (lambda path: claim_directory(path, 3_000_000_000), "its list of content has 3 GB; wanted at most 16 MB"),
    ],
)
def test_zip_directory_refuses_too_much(tmp_path, damage, message):
    path = tmp_path / "a.zip"
    archive(path, a=b"abc", b=b"")
    damage(path)
    with path.open("rb") as file, pytest.raises(TooLargeError, match=message):
        read_directory(file, LIMIT)


@pytest.mark.parametrize("content", [b"", b"abc", b"PK\3\4" + bytes(100), b"PK\5\6", b"PK\5\6" + b"\xff" * 18])
def test_zip_directory_refuses_what_is_no_zip(content):
    with pytest.raises(zipfile.BadZipFile):
        read_directory(io.BytesIO(content), LIMIT)
