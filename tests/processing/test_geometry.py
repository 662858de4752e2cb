"""Geometry and host preparation against the originals' numbers, and against prepare.onnx."""

import json
import zlib

import cv2
import numpy as np
import pytest

from nanoseg.errors import UsageError
from nanoseg.processing.geometry import SAM_MEAN, SAM_STD, Geometry
from nanoseg.processing.preprocess import Preprocessor
from tests.data.fill_weights import image_u8

# seed, height, width of the reference's pictures
PICTURES = [(41, 97, 161), (42, 161, 97), (43, 480, 1300), (44, 636, 400)]
FRAMES = [(480, 640), (640, 480), (97, 161), (1080, 1920), (1, 1), (1, 4000), (4000, 1), (37, 1300), (640, 640)]


@pytest.fixture(scope="module")
def processing(data):
    return json.loads((data / "processing.json").read_text())


@pytest.fixture(scope="module")
def golden(data):
    with np.load(data / "golden_processing.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize(("seed", "height", "width"), PICTURES)
def test_geometry_detector_input_is_super_gradients(processing, seed, height, width):
    steps = {step["step"]: step for step in processing[f"yolo_nas.{height}x{width}"]}
    bgr = np.ascontiguousarray(image_u8(seed, height, width)[..., ::-1])
    prepared = Preprocessor(640, 636, 1024)(bgr)

    resized_h, resized_w, _ = steps["DetectionLongestMaxSizeRescale"]["shape"]
    geometry = prepared.geometry
    assert geometry.detector_hw == (resized_h, resized_w)
    left, top = geometry.detector_offset
    assert f"top={top}, " in steps["DetectionCenterPadding"]["meta"]
    assert f"left={left}, " in steps["DetectionCenterPadding"]["meta"]
    assert f"scale_factor_h={geometry.detector_scale}," in steps["DetectionLongestMaxSizeRescale"]["meta"]
    assert prepared.images.shape == (1, 3, 640, 640)
    assert zlib.crc32(prepared.images.tobytes()) == steps["ImagePermute"]["crc32"]


@pytest.mark.parametrize(("seed", "height", "width"), PICTURES)
def test_geometry_boxes_go_back_to_the_frame_as_in_super_gradients(golden, seed, height, width):
    geometry = Geometry.of((height, width), 640, 636, 1024)
    wanted = golden[f"yolo_nas.{height}x{width}.boxes_out"]
    boxes = geometry.from_detector(golden["boxes_in"])
    np.testing.assert_allclose(boxes, wanted, atol=1e-3)
    np.testing.assert_allclose(geometry.to_detector(boxes), golden["boxes_in"], atol=1e-3)


@pytest.mark.parametrize(("seed", "height", "width"), PICTURES[:3])
def test_geometry_encoder_sizes_and_points_are_segment_anythings(processing, golden, seed, height, width):
    geometry = Geometry.of((height, width), 640, 636, 1024)
    sam = processing[f"sam.{height}x{width}"]
    assert geometry.encoder_hw == (sam["resized_h"], sam["resized_w"])
    points = geometry.to_encoder(np.array(processing["nanosam_points_in"], np.float32))
    np.testing.assert_allclose(points, golden[f"sam.{height}x{width}.points_out"], atol=1e-3)
    pil = Geometry.of((height, width), 640, 636, 1024, "pil")
    assert (pil.encoder_hw, pil.encoder_scale) == (geometry.encoder_hw, geometry.encoder_scale)


def test_geometry_encoder_input_is_normalised_then_padded_with_zero():
    bgr = np.ascontiguousarray(image_u8(7, 60, 100)[..., ::-1])
    prepared = Preprocessor(64, 60, 256)(bgr)
    resized = cv2.resize(bgr, (256, 154), interpolation=cv2.INTER_LINEAR)[..., ::-1].astype(np.float64)
    wanted = np.zeros((256, 256, 3))
    wanted[:154] = (resized - SAM_MEAN) / SAM_STD
    np.testing.assert_allclose(prepared.image[0], wanted.transpose(2, 0, 1), atol=1e-6)


@pytest.mark.parametrize("frame_hw", FRAMES)
def test_geometry_maps_invert_and_stay_inside(frame_hw):
    height, width = frame_hw
    geometry = Geometry.of(frame_hw, 320, 318, 512)
    corners = np.array([[0, 0, width, height]], np.float32)
    inside = geometry.to_detector(corners)
    # Half a pixel of rounding of the resized side, which the letterbox keeps out of its scale.
    assert inside.min() >= -0.5
    assert inside.max() <= 320.5
    np.testing.assert_allclose(geometry.from_detector(inside), corners, atol=1e-3 * max(frame_hw))
    assert geometry.to_encoder(corners).max() == pytest.approx(512)
    assert max(geometry.encoder_hw) == 512
    assert max(geometry.detector_hw) == 318
    assert min(*geometry.encoder_hw, *geometry.detector_hw) >= 1


@pytest.mark.parametrize("resize", ["sam", "PIL", "", None])
def test_geometry_refuses_unknown_resize(resize):
    with pytest.raises(UsageError, match="resize: wanted one of cv2, pil, nanosam, got"):
        Geometry.of((30, 40), 320, 318, 512, resize)


def test_geometry_vector_is_the_graphs_order():
    vector = Geometry.of((480, 640), 320, 318, 512).vector()
    assert vector.dtype == np.float32
    scale = 318 / 640
    np.testing.assert_allclose(vector, [scale, scale, 1, 41, 0.8, 0.8, 640, 480], rtol=1e-6)


def test_geometry_clip_keeps_boxes_in_the_frame():
    geometry = Geometry.of((30, 40), 320, 318, 512)
    boxes = np.array([[-5, -6, 50, 60], [1, 2, 3, 4]], np.float32)
    np.testing.assert_array_equal(geometry.clip(boxes), [[0, 0, 40, 30], [1, 2, 3, 4]])


def test_geometry_buffers_are_reused_and_a_new_size_leaves_nothing_of_the_old_one():
    preprocessor = Preprocessor(320, 318, 512)
    wide, tall = image_u8(1, 48, 200), image_u8(2, 200, 48)
    first = preprocessor(wide)
    before = first.images.copy(), first.image.copy()
    assert np.shares_memory(preprocessor(tall).images, first.images)
    preprocessor(wide)
    np.testing.assert_array_equal(first.images, before[0])
    np.testing.assert_array_equal(first.image, before[1])
    fresh = Preprocessor(320, 318, 512)(wide)
    np.testing.assert_array_equal(first.images, fresh.images)
    np.testing.assert_array_equal(first.image, fresh.image)


def test_geometry_encoder_input_alone_is_the_same():
    picture = image_u8(3, 90, 120)
    np.testing.assert_array_equal(
        Preprocessor(320, 318, 512).encoder_input(picture).image, Preprocessor(320, 318, 512)(picture).image
    )


@pytest.mark.parametrize("frame_hw", FRAMES)
def test_geometry_host_and_prepare_onnx_agree(frame_hw):
    pytest.importorskip("onnxruntime", reason="needs nanoseg[cpu]")
    pytest.importorskip("onnx", reason="needs nanoseg[bundle]")
    from nanoseg.onnx_graphs.deploy.prepare import prepare_graph
    from tests.helpers.onnx_run import run

    sizes = (640, 636, 1024)
    picture = cv2.GaussianBlur(np.random.default_rng(4).integers(0, 256, (*frame_hw, 3), np.uint8), (5, 5), 0)
    host, graph = Preprocessor(*sizes)(picture), run(prepare_graph(*sizes), frame=picture[None])
    np.testing.assert_array_equal(graph["geometry"], host.geometry.vector())
    # OpenCV interpolates in fixed point: a level apart at most, of 256.
    np.testing.assert_allclose(graph["images"], host.images, atol=1.001 / 255)
    np.testing.assert_allclose(graph["image"], host.image, atol=1.001 / min(SAM_STD))
