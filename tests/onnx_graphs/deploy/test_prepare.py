"""prepare.onnx against OpenCV on the host and super-gradients' golden inputs."""

import json
import zlib

import cv2
import numpy as np
import pytest

from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.deploy.prepare import prepare_graph
from nanoseg.onnx_graphs.model.builder import IR_VERSION
from nanoseg.onnx_graphs.model.simplify import UNSUPPORTED_OPERATORS
from nanoseg.processing.geometry import LETTERBOX_VALUE, SAM_MEAN, SAM_STD, Geometry
from tests.data.fill_weights import image_u8
from tests.helpers.onnx_run import run

COMMON = (640, 636, 1024)
GOLDEN = {(97, 161): 41, (161, 97): 42, (480, 1300): 43, (636, 400): 44}


def host(image: np.ndarray, sizes: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Both inputs with OpenCV, as super-gradients and segment-anything make them."""
    side, _, encoder_side = sizes
    geometry = Geometry.of(image.shape[:2], *sizes)
    (height, width), (left, top) = geometry.detector_hw, geometry.detector_offset
    images = np.full((side, side, 3), LETTERBOX_VALUE, np.uint8)
    images[top : top + height, left : left + width] = cv2.resize(image, (width, height))[..., ::-1]
    height, width = geometry.encoder_hw
    encoder = np.zeros((encoder_side, encoder_side, 3), np.float32)
    rgb = cv2.resize(image, (width, height))[..., ::-1].astype(np.float32)
    encoder[:height, :width] = (rgb - np.array(SAM_MEAN, np.float32)) / np.array(SAM_STD, np.float32)
    return (images / 255).astype(np.float32).transpose(2, 0, 1)[None], encoder.transpose(2, 0, 1)[None]


def levels_apart(got: dict[str, np.ndarray], want: tuple[np.ndarray, np.ndarray]) -> tuple[float, float]:
    """Return the largest difference of both inputs in levels 0..255."""
    std = np.array(SAM_STD, np.float32).reshape(1, 3, 1, 1)
    return float(np.abs(got["images"] - want[0]).max() * 255), float((np.abs(got["image"] - want[1]) * std).max())


@pytest.mark.parametrize(
    ("sizes", "frame_hw", "limits"),
    [
        ((640, 640, 1024), (720, 1280), (0, 1)),
        ((640, 640, 1024), (1080, 1920), (0, 1)),
        ((320, 320, 512), (480, 640), (0, 1)),
        ((320, 320, 512), (320, 200), (0, 1)),
        ((320, 320, 512), (512, 512), (1, 0)),
        ((320, 320, 512), (3, 700), (0, 1)),
        (COMMON, (720, 1280), (1, 1)),
        (COMMON, (1080, 1920), (1, 1)),
        (COMMON, (161, 97), (1, 1)),
        (COMMON, (636, 400), (0, 1)),
        (COMMON, (1, 1), (0, 0)),
    ],
)
def test_prepare_equals_opencv(sizes: tuple[int, int, int], frame_hw: tuple[int, int], limits: tuple[int, int]) -> None:
    frame = np.random.default_rng(1).integers(0, 256, (*frame_hw, 3), np.uint8)
    got = run(prepare_graph(*sizes), frame=frame[None])
    detector_levels, encoder_levels = levels_apart(got, host(frame, sizes))
    assert detector_levels <= limits[0] + 1e-3
    assert encoder_levels <= limits[1] + 1e-3
    assert np.array_equal(got["geometry"], Geometry.of(frame_hw, *sizes).vector())


@pytest.mark.parametrize(("frame_hw", "seed"), GOLDEN.items())
def test_prepare_equals_super_gradients(frame_hw: tuple[int, int], seed: int, data) -> None:
    rgb = image_u8(seed, *frame_hw)
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    key = f"yolo_nas.{frame_hw[0]}x{frame_hw[1]}"
    crc = json.loads((data / "processing.json").read_text())[key][-1]["crc32"]
    golden = np.load(data / "golden_processing.npz")
    got = run(prepare_graph(*COMMON), frame=bgr[None])["images"]
    sample = got.ravel()[:: int(golden[f"{key}.input.stride"])]
    assert np.abs(sample - golden[f"{key}.input.sample"]).max() <= 1.001 / 255
    # The host's way is theirs bit for bit, and so is the graph's where nothing has to be interpolated.
    exact = got if frame_hw == (636, 400) else host(bgr, COMMON)[0]
    assert zlib.crc32(exact.tobytes()) == crc


@pytest.mark.parametrize("frame_hw", [(97, 161), (161, 97), (480, 1300)])
def test_prepare_encoder_size_equals_sam(frame_hw: tuple[int, int], data) -> None:
    frame = np.full((1, *frame_hw, 3), 255, np.uint8)
    got = run(prepare_graph(*COMMON), frame=frame)
    golden = json.loads((data / "processing.json").read_text())[f"sam.{frame_hw[0]}x{frame_hw[1]}"]
    picture = np.argwhere(got["image"][0, 0])
    assert picture.max(0).tolist() == [golden["resized_h"] - 1, golden["resized_w"] - 1]


@pytest.mark.parametrize("sizes", [(64, 64, 32), (64, 60, 48), (32, 31, 64)])
def test_prepare_geometry_equals_the_hosts(sizes: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(2)
    graph = prepare_graph(*sizes)
    shapes = [tuple(rng.integers(1, 200, 2)) for _ in range(40)]
    shapes += [(80, 128), (48, 128), (16, 128), (1, 200), (200, 1)]  # 60 / 128 of them ends in a half
    for height, width in shapes:
        frame = np.full((1, height, width, 3), 255, np.uint8)
        got = run(graph, frame=frame)
        geometry = Geometry.of((int(height), int(width)), *sizes)
        assert np.array_equal(got["geometry"], geometry.vector()), (height, width)
        inside = np.argwhere(got["images"][0, 0] == 1)
        assert tuple(inside.max(0) - inside.min(0) + 1) == geometry.detector_hw, (height, width)


def test_prepare_swaps_colours_and_pads() -> None:
    frame = np.zeros((1, 32, 64, 3), np.uint8)
    frame[..., 0] = 255  # blue
    got = run(prepare_graph(64, 64, 64), frame=frame)
    assert got["images"][0, :, 32, 32].tolist() == [0, 0, 1]
    assert np.allclose(got["images"][0, :, [0, 15, 48, 63], 5], 114 / 255)
    assert (got["image"][0, :, 32:] == 0).all()
    assert np.allclose(got["image"][0, :, 0, 0], (np.array([0, 0, 255]) - SAM_MEAN) / SAM_STD)


def test_prepare_has_tensorrts_operators() -> None:
    graph = prepare_graph(*COMMON)
    assert not {node.op_type for node in graph.graph.node} & UNSUPPORTED_OPERATORS
    assert graph.ir_version == IR_VERSION
    assert [(entry.domain, entry.version) for entry in graph.opset_import] == [("", 19)]
    outputs = {o.name: [side.dim_value for side in o.type.tensor_type.shape.dim] for o in graph.graph.output}
    assert outputs == {"images": [1, 3, 640, 640], "image": [1, 3, 1024, 1024], "geometry": [8]}


@pytest.mark.parametrize("half", [("images",), ("image",), ("images", "image")])
def test_prepare_float16_is_rounded_float32(half: tuple[str, ...]) -> None:
    frame = np.random.default_rng(3).integers(0, 256, (1, 45, 70, 3), np.uint8)
    wanted = run(prepare_graph(64, 60, 80), frame=frame)
    graph = prepare_graph(64, 60, 80, **dict.fromkeys(half, np.float16))
    got = run(graph, frame=frame)
    assert [output.name for output in graph.graph.output] == ["images", "image", "geometry"]
    for name, array in wanted.items():
        kind = np.float16 if name in half else np.float32
        assert got[name].dtype == kind
        np.testing.assert_array_equal(got[name], array.astype(kind))


@pytest.mark.parametrize("rescale_px", [0, -1, 641])
def test_prepare_refuses_rescale_out_of_range(rescale_px: int) -> None:
    with pytest.raises(BundleError, match=f"rescale_px: wanted 1 to 640, .* got {rescale_px}"):
        prepare_graph(640, rescale_px, 1024)
