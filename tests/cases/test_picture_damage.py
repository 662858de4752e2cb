"""Damaged pictures, pictures that decoders grumble about, and those of several pages: a line of ours, or nothing."""

import io
import logging
import shutil

import numpy as np
import pytest

from nanoseg.errors import SourceError
from nanoseg.sources.images import read_image
from nanoseg.sources.open import open_source
from tests.sources.encoded_images import encoded

cv2 = pytest.importorskip("cv2")

LIMIT = 1_000_000
NOISE = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (200, 300, 3), np.uint8), (9, 9), 0)
JPEG, PROGRESSIVE = encoded(".jpg", NOISE), encoded(".jpg", NOISE, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
PNG = encoded(".png", NOISE)


def with_zeros(data, at=0.5, count=600):
    at = int(len(data) * at)
    return data[:at] + bytes(count) + data[at + count :]


DAMAGED = {
    "JPEG, zeros": with_zeros(JPEG),
    "JPEG, zeros in the beginning": with_zeros(JPEG, 0.2),
    "JPEG, cut but ended": JPEG[: len(JPEG) // 2] + b"\xff\xd9",
    "JPEG, cut": JPEG[: len(JPEG) // 2],
    "JPEG, progressive, zeros": with_zeros(PROGRESSIVE),
    "JPEG, progressive, cut but ended": PROGRESSIVE[: len(PROGRESSIVE) // 3] + b"\xff\xd9",
    "PNG, zeros": with_zeros(PNG),
    "PNG, cut": PNG[:-100],
    "PNG, checksum": PNG[:-20] + bytes([PNG[-20] ^ 1]) + PNG[-19:],
    "WebP, cut": encoded(".webp", NOISE)[:-99],
    "BMP, cut": encoded(".bmp", NOISE)[:-99],
    "TIFF, cut": encoded(".tif", NOISE)[:-99],
    "PPM, cut": encoded(".ppm", NOISE)[:-99],
    "GIF, cut": encoded(".gif", NOISE)[:-99] if cv2.__version__ >= "4.11" else b"GIF89a\x09\0\x09\0\0\0\0",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_picture_is_an_error(tmp_path, capfd, name):
    (tmp_path / "a").write_bytes(DAMAGED[name])
    with pytest.raises(SourceError, match=r"damaged|cut short") as raised:
        read_image(tmp_path / "a", LIMIT)
    assert str(raised.value).startswith(f"{tmp_path / 'a'}: ")
    assert capfd.readouterr() == ("", "")


def test_damaged_picture_of_a_report(case, capfd):
    with pytest.raises(SourceError, match=r"zeroed\.jpg: the JPEG file is damaged: it has zeros in place of pixels"):
        read_image(case("sources/20-stderr-noise/zeroed.jpg"), LIMIT)
    assert capfd.readouterr() == ("", "")


def test_damaged_picture_of_a_folder_is_skipped(tmp_path):
    (tmp_path / "a.jpg").write_bytes(JPEG)
    (tmp_path / "b.jpg").write_bytes(with_zeros(JPEG))
    errors = []
    assert [frame.index for frame in open_source(tmp_path, on_error=errors.append)] == [0]
    assert [str(error).partition(": ")[0] for error in errors] == [str(tmp_path / "b.jpg")]


def srgb_profile_of_libpng():
    """Return a PNG whose colour profile libpng calls incorrect."""
    image = pytest.importorskip("PIL.Image")
    buffer = io.BytesIO()
    image.fromarray(NOISE[..., ::-1]).save(buffer, "PNG", icc_profile=bytes(200))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "make",
    [
        lambda: JPEG[:-2] + bytes(40) + JPEG[-2:],
        lambda: JPEG[:-2] + bytes(4000) + JPEG[-2:],
        lambda: JPEG[:-2] + b"\xaa" * 400 + JPEG[-2:],
        lambda: JPEG[:-2] + b"\xff" * 40 + JPEG[-2:],
        lambda: JPEG[:-2] + bytes(40) + JPEG[-2:] + JPEG,
        lambda: JPEG + b"a trailer, as some cameras write",
        lambda: JPEG.replace(b"JFIF\0\x01", b"JFIF\0\x09"),
        srgb_profile_of_libpng,
    ],
    ids=[
        "zeros at the end",
        "many zeros at the end",
        "padding at the end",
        "fill bytes",
        "padding before a second picture",
        "a trailer",
        "a version of JFIF",
        "a profile",
    ],
)
def test_whole_picture_is_read_without_a_word(tmp_path, capfd, caplog, make):
    (tmp_path / "a").write_bytes(make())
    assert np.abs(read_image(tmp_path / "a", LIMIT).astype(int) - NOISE).mean() < 4
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_geotiff_is_read_without_a_word(case, capfd, caplog):
    assert read_image(case("sources/20-stderr-noise/geo.tif"), LIMIT).shape == (60, 80, 3)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_doubtful_picture_is_read_with_a_word(tmp_path, capfd, caplog):
    (tmp_path / "a.jpg").write_bytes(JPEG[:-2] + bytes(range(1, 41)) + JPEG[-2:])
    read_image(tmp_path / "a.jpg", LIMIT)
    (tmp_path / "b.jpg").write_bytes(JPEG[: len(JPEG) // 2] + bytes(len(JPEG)) + JPEG[-2:])
    read_image(tmp_path / "b.jpg", LIMIT)
    assert len(caplog.records) == 2
    for record in caplog.records:
        assert "extraneous bytes before marker 0xd9; it may be damaged" in record.getMessage()
    assert capfd.readouterr() == ("", "")


def several(kind, count=3):
    image = pytest.importorskip("PIL.Image")
    frames = [image.fromarray(NOISE // (1 + i)) for i in range(count)]
    buffer = io.BytesIO()
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:])
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "make", "text"),
    [
        ("a.tif", lambda: several("TIFF"), "has 3 pages, the first is read"),
        ("a.webp", lambda: several("WEBP", 2), "has 2 frames, the first is read"),
        ("a.png", lambda: several("PNG", 4), "has 4 frames, the first is read"),
        ("a.gif", lambda: several("GIF"), "has 3 frames, the first is read"),
    ],
)
def test_picture_of_several_pages(tmp_path, caplog, name, make, text):
    (tmp_path / name).write_bytes(make())
    read = read_image(tmp_path / name, LIMIT)
    assert [record.getMessage() for record in caplog.records] == [f"{tmp_path / name}: {text}"]
    assert abs(float(read.mean()) - float(NOISE.mean())) < 4  # the first, and not a darker one


@pytest.mark.parametrize("name", ["multi.gif", "multi.webp", "multi_apng.png"])
def test_picture_of_several_pages_of_a_report(case, caplog, name):
    assert read_image(case(f"sources/23-first-page/{name}"), LIMIT).shape == (60, 80, 3)
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == ["has 3 frames, the first is read"]


def test_pictures_of_several_pages_are_counted_where_reading_ends(tmp_path, caplog, case):
    for name in ("a.webp", "b.webp", "c.webp"):
        shutil.copy(case("sources/23-first-page/multi.webp"), tmp_path / name)
    frames = iter(open_source(tmp_path))
    next(frames), next(frames)
    frames.close()
    assert caplog.records[-1].getMessage() == "1 picture more: have several frames, the first of each is read"


def test_pictures_of_several_pages_are_counted(tmp_path, caplog, case):
    for name in ("a.webp", "b.webp", "c.webp"):
        shutil.copy(case("sources/23-first-page/multi.webp"), tmp_path / name)
    assert len(list(open_source(tmp_path))) == 3
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'a.webp'}: has 3 frames, the first is read",
        "2 pictures more: have several frames, the first of each is read",
    ]
    assert all(record.levelno == logging.WARNING for record in caplog.records)


@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize("flags", [(), (cv2.IMWRITE_JPEG_OPTIMIZE, 1), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)])
@pytest.mark.parametrize("shape", [(400, 600), (400, 600, 3)])
def test_flat_jpeg_is_not_taken_for_a_damaged_one(tmp_path, level, flags, shape):
    flat = np.full(shape, level, np.uint8)
    (tmp_path / "a.jpg").write_bytes(encoded(".jpg", flat, *flags))
    assert (read_image(tmp_path / "a.jpg", LIMIT) == level).all()


@pytest.mark.parametrize("at", [0.1, 0.3, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("count", [100, 300, 600, 2000])
def test_jpeg_with_zeros_anywhere_is_damaged(tmp_path, at, count):
    (tmp_path / "a.jpg").write_bytes(with_zeros(JPEG, at, min(count, int(len(JPEG) * (1 - at)) - 9)))
    with pytest.raises(SourceError, match="damaged"):
        read_image(tmp_path / "a.jpg", LIMIT)
