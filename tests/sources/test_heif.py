"""HEIC and AVIF: the colours, size and orientation that other formats have, or one line."""

import io
import sys

import numpy as np
import pytest

from nanoseg.errors import DependencyError, SourceError
from nanoseg.sources.images import read_image
from nanoseg.sources.open import open_source
from tests.sources.encoded_images import encoded

pytest.importorskip("cv2")
image = pytest.importorskip("PIL.Image")
features = pytest.importorskip("PIL.features")

LIMIT = 1_000_000
CORNER = np.full((64, 96, 3), (200, 120, 60), np.uint8)
CORNER[:16, :16] = 255


def heif(kind, mode="RGB", orientation=1):
    picture, buffer, exif = image.fromarray(CORNER).convert(mode), io.BytesIO(), image.Exif()
    exif[274] = orientation
    if kind == "HEIC":
        pytest.importorskip("pillow_heif").from_pillow(picture).save(buffer, quality=95, exif=exif.tobytes())
    elif features.check("avif"):
        picture.save(buffer, "AVIF", quality=95, exif=exif)
    else:
        pytest.skip("this Pillow has no AVIF")
    return buffer.getvalue()


@pytest.fixture(params=["HEIC", "AVIF"])
def kind(request):
    return request.param


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_heif_colours(tmp_path, kind, mode):
    (tmp_path / "a.heic").write_bytes(heif(kind, mode))
    read = read_image(tmp_path / "a.heic", LIMIT)
    assert (read.shape, read.dtype, read.flags.c_contiguous) == ((64, 96, 3), np.uint8, True)
    expected = [60, 120, 200] if mode != "L" else [137] * 3
    assert np.abs(read[40, 40].astype(int) - expected).max() <= 3


@pytest.mark.parametrize(
    ("orientation", "corner"), [(1, (0, 0)), (3, (-1, -1)), (6, (0, -1)), (8, (-1, 0)), (2, (0, -1))]
)
def test_heif_orientation(tmp_path, kind, orientation, corner):
    (tmp_path / "a").write_bytes(heif(kind, orientation=orientation))
    read = read_image(tmp_path / "a", LIMIT)
    assert read.shape[:2] == ((64, 96) if orientation < 5 else (96, 64))
    assert [(y, x) for y in (0, -1) for x in (0, -1) if read[y, x].min() > 220] == [corner]


def test_heif_max_pixels(tmp_path, kind):
    (tmp_path / "a").write_bytes(heif(kind))
    assert read_image(tmp_path / "a", 64 * 96).shape == (64, 96, 3)
    with pytest.raises(SourceError, match="96 x 64 pixels are more than the limit of 6143"):
        read_image(tmp_path / "a", 64 * 96 - 1)


@pytest.mark.parametrize("keep", [24, 0.3, 0.6, 0.95])
def test_heif_cut_short(tmp_path, capfd, kind, keep):
    data = heif(kind)
    (tmp_path / "a").write_bytes(data[: int(keep if keep > 1 else len(data) * keep)])
    with pytest.raises(SourceError, match=f"the {kind} file (cannot be opened|is damaged): .*") as raised:
        read_image(tmp_path / "a", LIMIT)
    assert "\n" not in str(raised.value)
    assert capfd.readouterr() == ("", "")


def test_heif_animation(tmp_path, caplog):
    if not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    frames = [image.fromarray(CORNER // (1 + i)) for i in range(3)]
    frames[0].save(tmp_path / "a.avif", save_all=True, append_images=frames[1:])
    assert np.abs(read_image(tmp_path / "a.avif", LIMIT)[40, 40].astype(int) - [60, 120, 200]).max() <= 4
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path / 'a.avif'}: has 3 frames, the first is read"
    ]


def test_heif_without_its_library(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))
    with pytest.raises(DependencyError, match=r'pillow-heif is not installed: pip install "nanoseg\[heic\]"'):
        read_image(tmp_path / "a.heic", LIMIT)
    (tmp_path / "b.png").write_bytes(encoded(".png"))
    errors = []
    assert len(list(open_source(tmp_path, on_error=errors.append))) == 1
    assert [str(error).partition(": ")[0] for error in errors] == [str(tmp_path / "a.heic")]


def test_avif_without_its_decoder(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "check", lambda name: False)
    (tmp_path / "a.avif").write_bytes(b"\0\0\0\x18ftypavif" + bytes(99))
    with pytest.raises(DependencyError, match="this Pillow cannot read AVIF"):
        read_image(tmp_path / "a.avif", LIMIT)
