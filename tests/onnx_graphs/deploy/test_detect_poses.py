"""detect.onnx of a detector of poses: keypoints stay with their boxes, on a device, on a CPU and redone by the host."""

from pathlib import Path

import numpy as np
import pytest

from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.adapt.detector import load_detector
from nanoseg.onnx_graphs.deploy.detect import detect_graph
from nanoseg.onnx_graphs.model.simplify import UNSUPPORTED_OPERATORS
from nanoseg.processing.geometry import Geometry, Padding
from nanoseg.processing.nms import from_candidates, postprocess
from tests.data.fill_weights import nms_case
from tests.helpers.onnx_run import run
from tests.helpers.tiny_networks import DETECTOR_PX, PLAIN_GEOMETRY, pose_detector, varying_sides
from tests.onnx_graphs.deploy.test_detect import pipeline

IMAGES = np.zeros((1, 3, DETECTOR_PX, DETECTOR_PX), np.float32)


def golden_poses() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes (A, 4), scores (A, 1) and keypoints (A, 17, 3) of super-gradients' case."""
    boxes, _, scores, xy, confidences = nms_case()
    return boxes, scores, np.concatenate([xy, confidences[..., None]], 2)


def detect(path: Path, geometry: np.ndarray, k: int, candidates: int, confidence: float, iou: float) -> dict:
    graph = detect_graph(load_detector(path), k, candidates)
    limits = {"confidence": np.float32(confidence), "iou": np.float32(iou)}
    return run(graph, images=IMAGES, geometry=geometry, **limits)


def test_detect_poses_equals_super_gradients(data: Path, tmp_path: Path) -> None:
    golden = np.load(data / "golden_processing.npz")
    path = pose_detector(tmp_path / "pose.onnx", *golden_poses())
    found = detect(path, PLAIN_GEOMETRY, k=100, candidates=300, confidence=0.5, iou=0.7)
    assert (int(found["count"]), int(found["unconverged"])) == (100, 0)
    np.testing.assert_array_equal(found["boxes"], golden["pose_nms.bboxes"])
    np.testing.assert_array_equal(found["scores"], golden["pose_nms.scores"])
    sample = found["keypoints"].ravel()[:: int(golden["pose_nms.poses.stride"])]
    np.testing.assert_array_equal(sample, golden["pose_nms.poses.sample"])
    assert found["candidates"].shape == (300, 6 + 3 * 17)


@pytest.mark.parametrize("padding", [Padding(), Padding(centred=False, value=127)], ids=str)
def test_detect_poses_is_what_the_host_computes_of_its_candidates(padding: Padding, tmp_path: Path) -> None:
    geometry = Geometry.of((97, 161), 640, 600, 1024, padding=padding)
    path = pose_detector(tmp_path / "pose.onnx", *golden_poses())
    limits = {"confidence": 0.3, "iou": 0.6}
    graph = detect(path, geometry.vector(), k=80, candidates=250, **limits)
    host = from_candidates(graph["candidates"], geometry, **limits, max_detections=80)
    on_device, on_host = (postprocess(raw, geometry, **limits) for raw in (graph, host))
    assert len(on_device.xyxy) > 10
    for one, other in zip(on_device, on_host, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-4)


def test_detect_poses_unconverged_is_finished_by_the_host_with_its_keypoints(tmp_path: Path) -> None:
    boxes, scores = pipeline(200)
    keypoints = np.stack([np.stack([boxes[:, 0], boxes[:, 1] + j, scores[:, 0]], 1) for j in range(3)], 1)
    path = pose_detector(tmp_path / "pose.onnx", boxes, scores, keypoints)
    geometry = Geometry.of((DETECTOR_PX, 3 * 200 + 10), 3 * 200 + 10, 3 * 200 + 10, 64, padding=Padding(False, 127))
    raw = detect(path, geometry.vector(), k=200, candidates=200, confidence=0.25, iou=0.4321)
    assert int(raw["unconverged"]) > 0
    found = postprocess(raw, geometry, confidence=0.25, iou=0.4321)
    assert len(found.xyxy) == 100
    np.testing.assert_allclose(found.keypoints[:, 0, 0], found.xyxy[:, 0], atol=1e-3)
    np.testing.assert_array_equal(found.keypoints[:, 2, 2], found.confidence)


def test_detect_poses_has_tensorrts_operators(tmp_path: Path) -> None:
    path = pose_detector(tmp_path / "pose.onnx", *golden_poses())
    graph = detect_graph(load_detector(path), 300)
    assert varying_sides(graph) == {}
    assert not {node.op_type for node in graph.graph.node} & UNSUPPORTED_OPERATORS


def test_load_detector_checks_the_shape_of_keypoints(tmp_path: Path) -> None:
    boxes, scores, keypoints = golden_poses()
    path = pose_detector(tmp_path / "pose.onnx", boxes, scores, keypoints[..., :2])
    with pytest.raises(BundleError, match=r"'keypoints' wants float32 \(1, A, J, 3\) with A = 400, got .*17, 2\)"):
        load_detector(path)
