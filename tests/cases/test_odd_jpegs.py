"""JPEG files that libjpeg calls odd: whole ones are read without a word, damaged ones are an error all the same."""

import numpy as np
import pytest

from nanoseg.errors import SourceError
from nanoseg.sources.images import read_image
from tests.sources.encoded_images import encoded

cv2 = pytest.importorskip("cv2")

LIMIT = 1_000_000
NOISE = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (200, 300, 3), np.uint8), (9, 9), 0)
RESTARTS = (cv2.IMWRITE_JPEG_RST_INTERVAL, 4)
JPEG, WITH_RESTARTS = encoded(".jpg", NOISE), encoded(".jpg", NOISE, *RESTARTS)
PROGRESSIVE = encoded(".jpg", NOISE, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x09"  # transform 9, of which there is none


def version(data):
    return data.replace(b"JFIF\0\x01", b"JFIF\0\x09")


def adobe(data):
    return data[:2] + ADOBE + data[2:]


def scan(data):
    """Parameters that a sequential scan has no use for."""
    at = data.index(b"\xff\xda")
    end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return data[: end - 3] + b"\x01\x3e\x00" + data[end:]


def all_of_them(data):
    return scan(adobe(version(data)))


ODD = [(version, JPEG), (adobe, JPEG), (scan, JPEG), (all_of_them, JPEG), (version, PROGRESSIVE), (adobe, PROGRESSIVE)]
ODD += [(all_of_them, WITH_RESTARTS)]


@pytest.mark.parametrize(("make", "data"), ODD)
def test_odd_jpeg_is_read_without_a_word(tmp_path, capfd, caplog, make, data):
    (tmp_path / "a.jpg").write_bytes(make(data))
    assert np.abs(read_image(tmp_path / "a.jpg", LIMIT).astype(int) - NOISE).mean() < 4
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def outcome(path, data, caplog):
    """Return what is said of a file: an error, warnings, or nothing."""
    caplog.clear()
    path.write_bytes(data)
    try:
        read_image(path, LIMIT)
    except SourceError as error:
        return str(error)
    return "".join(record.getMessage() for record in caplog.records)


def cut(data, at):
    return data[:at] + b"\xff\xd9"


def flipped(data, at):
    """A few bytes of the coded pixels are others."""
    return data[:at] + bytes((value ^ 0x55) % 255 for value in data[at : at + 40]) + data[at + 40 :]


@pytest.mark.parametrize("damage", [cut, flipped])
@pytest.mark.parametrize(("make", "data"), ODD)
def test_odd_jpeg_that_is_damaged_is_told_as_any_other(tmp_path, capfd, caplog, make, data, damage):
    said = set()
    for share in (0.5, 0.6, 0.7, 0.8, 0.9):
        # The same place of the pixels: the header has another length.
        at = int(len(data) * share)
        wanted = outcome(tmp_path / "a.jpg", damage(data, at), caplog)
        odd = make(data)
        assert outcome(tmp_path / "a.jpg", damage(odd, at + len(odd) - len(data)), caplog) == wanted
        said.add(wanted)
    assert any("damaged" in each for each in said)
    assert capfd.readouterr() == ("", "")
