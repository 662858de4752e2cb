"""Preprocessing and NMS of YOLO-NAS-Pose against super-gradients' numbers."""

import json
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from nanoseg.processing.geometry import Geometry, Padding
from nanoseg.processing.nms import from_candidates, postprocess
from nanoseg.processing.preprocess import Preprocessor
from tests.data.fill_weights import image_u8, nms_case
from tests.processing.test_geometry import PICTURES

PADDING = Padding(centred=False, value=127)
SIDE = 640
# Of super-gradients' predictions.
CONFIDENCE, IOU, TOP_K, MAX_DETECTIONS = 0.5, 0.7, 300, 100


@pytest.fixture(scope="module")
def golden(data: Path) -> dict[str, np.ndarray]:
    with np.load(data / "golden_processing.npz") as arrays:
        return dict(arrays)


def bgr(seed: int, height: int, width: int) -> np.ndarray:
    return np.ascontiguousarray(image_u8(seed, height, width)[..., ::-1])


def candidates() -> np.ndarray:
    """The golden case as detect.onnx gives it: the best rows first."""
    boxes, _, scores, xy, confidences = nms_case()
    keypoints = np.concatenate([xy, confidences[..., None]], 2).reshape(len(boxes), -1)
    rows = np.concatenate([boxes, scores, np.zeros_like(scores), keypoints], 1)
    return rows[np.argsort(-scores[:, 0])[:TOP_K]]


@pytest.mark.parametrize(("seed", "height", "width"), PICTURES)
def test_pose_input_is_super_gradients(data: Path, seed: int, height: int, width: int) -> None:
    """Every pixel of it, in BGR; the exported network takes RGB, and has the order in its first convolution."""
    recorded = json.loads((data / "processing.json").read_text())[f"yolo_nas_pose.{height}x{width}"]
    steps = {step["step"]: step for step in recorded}
    prepared = Preprocessor(SIDE, SIDE, 1024, padding=PADDING)(bgr(seed, height, width))
    assert prepared.geometry.detector_hw == tuple(steps["KeypointsLongestMaxSizeRescale"]["shape"][:2])
    assert prepared.geometry.detector_offset == (0, 0)
    assert zlib.crc32(np.ascontiguousarray(prepared.images[0, ::-1]).tobytes()) == steps["ImagePermute"]["crc32"]


@pytest.mark.parametrize(("height", "width"), [size_hw for _, *size_hw in PICTURES])
def test_pose_boxes_and_keypoints_go_back_to_the_frame(golden: dict[str, np.ndarray], height: int, width: int) -> None:
    geometry, key = Geometry.of((height, width), SIDE, SIDE, 1024, padding=PADDING), f"yolo_nas_pose.{height}x{width}"
    boxes, poses = golden["boxes_in"], golden["poses_in"]
    assert len(boxes) == len(poses)
    scores = np.linspace(0.9, 0.6, len(boxes))[:, None]
    rows = np.concatenate([boxes, scores, np.zeros_like(scores), poses.reshape(len(poses), -1)], 1)
    raw = from_candidates(rows.astype(np.float32), geometry, confidence=0.5, iou=1.0, max_detections=10)
    np.testing.assert_allclose(raw["boxes"], golden[f"{key}.boxes_out"], atol=1e-3)
    np.testing.assert_allclose(raw["keypoints"], golden[f"{key}.poses_out"], atol=1e-3)


def test_pose_nms_is_super_gradients(golden: dict[str, np.ndarray]) -> None:
    geometry = Geometry.of((SIDE, SIDE), SIDE, SIDE, 1024, padding=PADDING)  # the frame is the input
    limits = {"confidence": CONFIDENCE, "iou": IOU}
    raw = from_candidates(candidates(), geometry, **limits, max_detections=MAX_DETECTIONS)
    np.testing.assert_array_equal(raw["boxes"], golden["pose_nms.bboxes"])
    np.testing.assert_array_equal(raw["scores"], golden["pose_nms.scores"])
    assert list(raw["keypoints"].shape) == golden["pose_nms.poses.shape"].tolist()
    stride = int(golden["pose_nms.poses.stride"])
    np.testing.assert_array_equal(raw["keypoints"].ravel()[::stride], golden["pose_nms.poses.sample"])


def test_pose_keypoints_stay_with_their_boxes() -> None:
    """Rows that NMS drops, and boxes beside the frame, take theirs with them."""
    boxes = [[0, 0, 10, 10], [1, 0, 11, 10], [-9, -9, -1, -1], [20, 20, 30, 30]]
    rows = [[*box, 0.9 - 0.1 * i, 0, *([i, i, 0.5] * 2)] for i, box in enumerate(boxes)]
    geometry = Geometry.of((64, 64), 64, 64, 64)
    raw = from_candidates(np.array(rows, np.float32), geometry, confidence=0.1, iou=0.5, max_detections=10)
    found = postprocess(raw, geometry, confidence=0.1, iou=0.5)
    assert found.keypoints is not None
    assert found.keypoints.tolist() == [[[0, 0, 0.5]] * 2, [[3, 3, 0.5]] * 2]
    assert found.take(np.array([1])).keypoints.tolist() == [[[3, 3, 0.5]] * 2]


@pytest.mark.parametrize("frame_hw", [(480, 640), (97, 161), (1080, 1920), (1, 1), (4000, 1)])
def test_pose_host_and_prepare_onnx_agree(frame_hw: tuple[int, int]) -> None:
    pytest.importorskip("onnxruntime", reason="needs nanoseg[cpu]")
    pytest.importorskip("onnx", reason="needs nanoseg[bundle]")
    from nanoseg.onnx_graphs.deploy.prepare import prepare_graph
    from tests.helpers.onnx_run import run

    picture = cv2.GaussianBlur(image_u8(4, *frame_hw), (5, 5), 0)
    host = Preprocessor(320, 320, 256, padding=PADDING)(picture)
    graph = run(prepare_graph(320, 320, 256, padding=PADDING), frame=picture[None])
    np.testing.assert_array_equal(graph["geometry"], host.geometry.vector())
    np.testing.assert_allclose(graph["images"], host.images, atol=1.001 / 255)  # a level apart at most
