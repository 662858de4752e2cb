"""The benchmark's other side against NanoSAM's and super-gradients' own numbers: what is compared is no straw man."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs nanoseg[export]")
image_module = pytest.importorskip("PIL.Image", reason="needs nanoseg[eval]")


from nanoseg.processing.geometry import Geometry  # noqa: E402
from nanoseg.processing.preprocess import Preprocessor  # noqa: E402
from peers.nanosam.predictor import Predictor, letterbox, preprocess_image, upscale_mask  # noqa: E402
from tests.data.fill_weights import image_u8, normal_f32  # noqa: E402

# seed, height, width of the reference's pictures
PICTURES = [(41, 97, 161), (42, 161, 97), (43, 480, 1300)]


@pytest.fixture(scope="module")
def golden(data: Path) -> dict[str, np.ndarray]:
    with np.load(data / "golden_processing.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("side", [1024, 512])
@pytest.mark.parametrize(("seed", "height", "width"), PICTURES)
def test_encoder_input_is_nanosams(golden, seed, height, width, side):
    found = preprocess_image(image_module.fromarray(image_u8(seed, height, width)), side).numpy()
    key = f"nanosam.{height}x{width}.input{side}"
    assert list(found.shape) == golden[f"{key}.shape"].tolist()
    np.testing.assert_array_equal(found.ravel()[:: int(golden[f"{key}.stride"])], golden[f"{key}.sample"])
    # The whole, not the sample alone: our own preprocessor is held to the same numbers elsewhere.
    bgr = np.ascontiguousarray(image_u8(seed, height, width)[..., ::-1])
    np.testing.assert_array_equal(found, Preprocessor(640, 636, side, "nanosam")(bgr).image)


@pytest.mark.parametrize(("_", "height", "width"), PICTURES)
def test_masks_are_stretched_as_nanosams(golden, _, height, width):
    logits = torch.from_numpy(normal_f32(61, (1, 4, 256, 256)))
    found = upscale_mask(logits, (height, width)).numpy()
    key = f"nanosam.{height}x{width}.upscaled"
    assert list(found.shape) == golden[f"{key}.shape"].tolist()
    np.testing.assert_allclose(found.ravel()[:: int(golden[f"{key}.stride"])], golden[f"{key}.sample"], atol=1e-6)


@pytest.mark.parametrize(("seed", "height", "width"), PICTURES)
def test_both_ways_show_the_detector_the_same(seed, height, width):
    bgr = np.ascontiguousarray(image_u8(seed, height, width)[..., ::-1])
    found = letterbox(bgr, Geometry.of((height, width), 640, 636, 1024))
    assert (found.dtype, found.flags["C_CONTIGUOUS"]) == (np.float32, True)
    np.testing.assert_array_equal(found, Preprocessor(640, 636, 1024)(bgr).images)


def test_a_box_is_two_points_and_the_surest_mask_is_taken():
    fed = []

    def decoder(feeds):
        fed.append(feeds)
        logits = np.full((1, 4, 32, 32), -1, np.float32)
        logits[0, 2, :8] = 1  # the picture is the upper half of the square: its own upper half
        return {"low_res_masks": logits, "iou_predictions": np.array([[0.1, 0.2, 0.9, 0.3]], np.float32)}

    def encoder(feeds):
        assert feeds["image"].shape == (1, 3, 128, 128)
        return {"image_embeddings": np.ones((1, 256, 8, 8), np.float32)}

    predictor = Predictor(encoder, decoder, 128)
    predictor.set_image(image_module.fromarray(image_u8(1, 200, 400)))
    mask = predictor.mask(np.array([40, 20, 200, 180], np.float32))
    scale = 128 / 400
    np.testing.assert_allclose(fed[0]["point_coords"], [[[40 * scale, 20 * scale], [200 * scale, 180 * scale]]])
    np.testing.assert_array_equal(fed[0]["point_labels"], [[2, 3]])
    assert (fed[0]["has_mask_input"].tolist(), fed[0]["mask_input"].shape) == ([0.0], (1, 1, 32, 32))
    wanted = np.zeros((200, 400), bool)
    wanted[:100] = True
    np.testing.assert_array_equal(mask, wanted)
