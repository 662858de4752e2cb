"""The encoder's input as segment-anything and NanoSAM make it, against their numbers, to the bit."""

import json
import subprocess
import sys
import zlib

import numpy as np
import pytest

from nanoseg.errors import UsageError
from nanoseg.processing.geometry import Geometry
from nanoseg.processing.preprocess import Preprocessor, resizer
from tests.data.fill_weights import image_u8

pytest.importorskip("PIL", reason="needs nanoseg[eval]")

# seed, height, width of the reference's pictures
PICTURES = [(41, 97, 161), (42, 161, 97), (43, 480, 1300)]
# resize, the reference's name of it, the encoder's side
WAYS = [("pil", "sam", 1024), ("nanosam", "nanosam", 1024), ("nanosam", "nanosam", 512)]
POINTS = np.array([[10.0, 20.0], [90.0, 60.0]])
BOXES = np.array([[5.0, 6.0, 80.0, 90.0]])


@pytest.fixture(scope="module")
def processing(data):
    return json.loads((data / "processing.json").read_text())


@pytest.fixture(scope="module")
def golden(data):
    with np.load(data / "golden_processing.npz") as arrays:
        return dict(arrays)


def bgr(seed, height, width):
    return np.ascontiguousarray(image_u8(seed, height, width)[..., ::-1])


@pytest.mark.parametrize(("resize", "name", "side"), WAYS)
@pytest.mark.parametrize(("seed", "height", "width"), PICTURES)
def test_preprocess_encoder_input_is_the_originals(golden, seed, height, width, resize, name, side):
    prepared = Preprocessor(640, 636, side, resize)(bgr(seed, height, width))
    key = f"{name}.{height}x{width}.input{side}"
    assert list(prepared.image.shape) == golden[f"{key}.shape"].tolist()
    np.testing.assert_array_equal(prepared.image.ravel()[:: int(golden[f"{key}.stride"])], golden[f"{key}.sample"])
    whole = prepared.image.astype(np.float64)
    mean, std, total, low, high = golden[f"{key}.stats"]
    np.testing.assert_allclose([whole.mean(), whole.std(), np.abs(whole).sum()], [mean, std, total], rtol=1e-12)
    assert (whole.min(), whole.max()) == (low, high)


@pytest.mark.parametrize(("resize", "name", "side"), WAYS[:2])
@pytest.mark.parametrize(("seed", "height", "width"), PICTURES)
def test_preprocess_every_pixel_of_the_resized_picture(processing, seed, height, width, resize, name, side):
    wanted = processing[f"{name}.{height}x{width}"]
    geometry = Geometry.of((height, width), 640, 636, side, resize)
    assert geometry.encoder_hw == (wanted["resized_h"], wanted["resized_w"])
    out = np.empty((*geometry.encoder_hw, 3), np.uint8)
    resized = resizer(resize)(bgr(seed, height, width), out)
    assert zlib.crc32(np.ascontiguousarray(resized[..., ::-1]).tobytes()) == wanted["resized_u8_crc32"]


@pytest.mark.parametrize(("resize", "name", "side"), WAYS[:2])
@pytest.mark.parametrize(("_", "height", "width"), PICTURES)
def test_preprocess_coordinates_go_where_the_originals_put_them(golden, _, height, width, resize, name, side):
    geometry, key = Geometry.of((height, width), 640, 636, side, resize), f"{name}.{height}x{width}"
    np.testing.assert_array_equal(POINTS * geometry.encoder_scale, golden[f"{key}.points_out"])
    np.testing.assert_allclose(geometry.to_encoder(POINTS.astype(np.float32)), golden[f"{key}.points_out"], rtol=1e-6)
    if name == "sam":
        np.testing.assert_array_equal(BOXES * np.tile(geometry.encoder_scale, 2), golden[f"{key}.boxes_out"])
    # The graphs and the host have it from one vector.
    np.testing.assert_array_equal(geometry.vector()[4:6], np.float32(geometry.encoder_scale))


@pytest.mark.parametrize("size_hw", [(1, 4000), (4000, 1), (1, 1), (333, 1000), (49, 50), (512, 512)])
@pytest.mark.parametrize("resize", ["cv2", "pil", "nanosam"])
def test_preprocess_any_size_fits_the_square(size_hw, resize):
    picture = image_u8(1, *size_hw)
    prepared = Preprocessor(64, 60, 512, resize)(picture)
    height, width = prepared.geometry.encoder_hw
    assert max(height, width) == 512
    assert min(height, width) >= 1
    beyond = prepared.image.copy()
    beyond[..., :height, :width] = 0
    assert not beyond.any()
    assert np.isfinite(prepared.image).all()
    rows, columns = prepared.geometry.cells(128)[1]
    assert 1 <= min(rows, columns) <= max(rows, columns) == 128


def test_preprocess_detector_sees_the_same_however_the_encoder_does():
    picture = image_u8(2, 90, 120)
    wanted = Preprocessor(64, 60, 128)(picture)
    for resize in ("pil", "nanosam"):
        found = Preprocessor(64, 60, 128, resize)(picture)
        np.testing.assert_array_equal(found.images, wanted.images)
        assert (found.image != wanted.image).any()
        np.testing.assert_array_equal(Preprocessor(64, 60, 128, resize).encoder_input(picture).image, found.image)


def test_preprocess_picture_of_the_encoders_size_is_not_resized():
    picture = image_u8(3, 128, 96)
    inputs = [Preprocessor(64, 60, 128, resize)(picture).image for resize in ("cv2", "pil", "nanosam")]
    np.testing.assert_array_equal(inputs[0], inputs[1])
    np.testing.assert_array_equal(inputs[0], inputs[2])


def test_preprocess_refuses_unknown_resize():
    with pytest.raises(UsageError, match="resize: wanted one of cv2, pil, nanosam, got bicubic"):
        Preprocessor(64, 60, 128, "bicubic")


def test_preprocess_pillow_is_asked_for_only_where_it_is_needed():
    code = (
        "import sys; sys.modules['PIL'] = None\n"
        "from nanoseg.processing.preprocess import Preprocessor\n"
        "Preprocessor(64, 60, 128)\n"
        "Preprocessor(64, 60, 128, 'pil')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    wanted = 'nanoseg.errors.DependencyError: Pillow is not installed: pip install "nanoseg[eval]"'
    assert done.stderr.strip().splitlines()[-1] == wanted
