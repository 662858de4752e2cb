"""benchmarks/peers/opencv_dnn.py: its usual recipe is no straw man: the boxes are those that nanoseg keeps."""

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2")
pytest.importorskip("onnxruntime", reason="needs nanoseg[cpu]")
pytest.importorskip("torch", reason="needs nanoseg[export]")
pytest.importorskip("onnxslim", reason="needs nanoseg[bundle]")
pytest.importorskip("PIL", reason="needs nanoseg[eval]")

from nanoseg.processing.geometry import Geometry  # noqa: E402
from nanoseg.processing.nms import nms  # noqa: E402
from nanoseg.processing.preprocess import Preprocessor  # noqa: E402
from peers import opencv_dnn  # noqa: E402
from peers.detector_outputs import scene  # noqa: E402
from peers.opencv_dnn import CANDIDATES, OpenCvDetector, between, run_graph  # noqa: E402
from tests.data.fill_weights import image_u8  # noqa: E402

GEOMETRY = Geometry.of((480, 640), 640, 636, 1024)


@pytest.fixture
def detector(monkeypatch):
    monkeypatch.setattr(opencv_dnn.cv2.dnn, "readNetFromONNX", lambda path: None)
    return OpenCvDetector("none", 0.7)


@pytest.mark.parametrize("objects", [1, 10, 60])
def test_opencv_keeps_the_boxes_of_nanoseg(detector, objects):
    boxes, scores = (each[0] for each in scene(objects))
    found = detector.postprocess(boxes, scores, GEOMETRY, 0.25)
    row, class_id = np.nonzero(scores > 0.25)
    kept = nms(boxes[row], scores[row, class_id], class_id, 0.25, 0.7)
    to_frame = GEOMETRY.vector()
    wanted = GEOMETRY.clip((boxes[row][kept] - to_frame[[2, 3, 2, 3]]) / to_frame[[0, 1, 0, 1]])
    order, wanted_order = np.argsort(-found.confidence), np.argsort(-scores[row, class_id][kept])
    np.testing.assert_allclose(found.xyxy[order], wanted[wanted_order], atol=1e-3)
    np.testing.assert_array_equal(found.class_id[order], class_id[kept][wanted_order])


def test_the_blob_is_the_detectors_input(detector):
    bgr = np.ascontiguousarray(image_u8(1, 480, 640))
    np.testing.assert_allclose(
        detector.preprocess(bgr, GEOMETRY), Preprocessor(640, 636, 1024)(bgr).images, rtol=0, atol=1e-6
    )


def test_between_lets_as_many_scores_through_as_it_says():
    scores = np.random.default_rng(0).random((300, 4))
    assert (scores > between(scores)).sum() == CANDIDATES


def test_run_graph_tells_the_difference_or_opencvs_message(tmp_path):
    from nanoseg.onnx_graphs.model.builder import GraphBuilder, build_model, tensor_info

    g = GraphBuilder()
    g.add("Mul", "x", np.float32(2), name="y")
    given = tensor_info("x", np.float32, (1, 3)), tensor_info("y", np.float32, (1, 3))
    model = build_model("twice", [given[0]], [given[1]], g.nodes, g.constants)
    path = tmp_path / "twice.onnx"
    path.write_bytes(model.SerializeToString())
    x = np.array([[1, 2, 4]], np.float32)
    assert run_graph(path, {"x": x}, {"y": 2 * x}).startswith("runs; largest difference 0.0e+00 where values reach 8")
    path.write_bytes(b"no graph")
    assert "OpenCV" in run_graph(path, {"x": x}, {"y": x})
