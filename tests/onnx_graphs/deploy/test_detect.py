"""detect.onnx against super-gradients' golden NMS and an independent greedy one."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.deploy.detect import detect_graph
from nanoseg.onnx_graphs.model.contract import DETECTOR, load_network
from nanoseg.onnx_graphs.model.simplify import UNSUPPORTED_OPERATORS
from nanoseg.processing.geometry import Geometry
from nanoseg.processing.nms import nms
from tests.data.fill_weights import nms_case
from tests.helpers.onnx_run import run
from tests.helpers.tiny_networks import DETECTOR_PX, PLAIN_GEOMETRY, detector, varying_sides

IOU = 0.4321  # no ratio of two whole areas below 800 comes near it, so that rounding decides nothing


def detect(
    folder: Path,
    boxes: np.ndarray,
    scores: np.ndarray,
    k: int = 300,
    confidence: float = 0.25,
    iou: float = IOU,
    geometry: np.ndarray = PLAIN_GEOMETRY,
) -> dict[str, np.ndarray]:
    graph = detect_graph(load_network(detector(folder / "detector.onnx", boxes, scores), DETECTOR), k)
    images = np.zeros((1, 3, DETECTOR_PX, DETECTOR_PX), np.float32)
    return run(graph, images=images, geometry=geometry, confidence=np.float32(confidence), iou=np.float32(iou))


def greedy(rows: Sequence[tuple[Sequence[int], float, int]], confidence: float, iou: float) -> list[int]:
    """Indices that are kept, best first, in plain numbers; `rows` are whole-numbered box, score, class."""
    kept: list[int] = []
    for i in sorted(range(len(rows)), key=lambda i: -rows[i][1]):
        box, score, kind = rows[i]
        if score > confidence and not any(rows[j][2] == kind and overlap(box, rows[j][0]) > iou for j in kept):
            kept.append(i)
    return kept


def overlap(a: Sequence[int], b: Sequence[int]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / max((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared, 1)


def crowd(seed: int, n: int, reach: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes with whole sides of 2 to 20 and distinct scores."""
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, reach, (n, 2))
    scores = (rng.permutation(n * classes) + 1.0) / (n * classes)
    return np.concatenate([corner, corner + rng.integers(2, 21, (n, 2))], 1), scores.reshape(n, classes)


def pipeline(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Each box overlaps the next by half an IoU or so, and is better than it: greedy keeps every other one."""
    left = 3 * np.arange(n)
    boxes = np.stack([left, np.zeros(n), left + 10, np.full(n, 10)], 1)
    return boxes, np.linspace(0.9, 0.5, n)[:, None]


def kept_rows(found: dict[str, np.ndarray]) -> list[tuple[list[float], float, int]]:
    count = int(found["count"])
    return [
        (box.tolist(), float(score), int(kind))
        for box, score, kind in zip(found["boxes"][:count], found["scores"], found["class_ids"], strict=False)
    ]


def wanted_rows(
    boxes: np.ndarray, scores: np.ndarray, confidence: float, k: int
) -> list[tuple[list[float], float, int]]:
    single = np.float32(scores)
    pairs = [(boxes[a].tolist(), float(single[a, c]), c) for a in range(len(boxes)) for c in range(scores.shape[1])]
    best = sorted(pairs, key=lambda row: -row[1])[:k]
    return [best[i] for i in greedy(best, confidence, IOU)]


CROWDS = {
    "sparse": crowd(0, 40, 400, 3),
    "dense": crowd(1, 150, 40, 2),
    "one class": crowd(2, 120, 60, 1),
    "duplicates": (np.tile(crowd(3, 60, 50, 2)[0], (2, 1)), crowd(3, 120, 50, 2)[1]),
    "short pipeline": pipeline(16),
    "no area": (np.tile([[5, 5, 5, 9]], (10, 1)), np.linspace(0.9, 0.3, 10)[:, None]),
    "many classes": crowd(4, 30, 20, 40),
}


@pytest.mark.parametrize("name", CROWDS)
@pytest.mark.parametrize(("confidence", "k"), [(0.25, 300), (0.0, 64), (0.9, 300)])
def test_detect_equals_greedy_nms(name: str, confidence: float, k: int, tmp_path: Path) -> None:
    boxes, scores = CROWDS[name]
    found = detect(tmp_path, boxes, scores, k, confidence)
    assert int(found["unconverged"]) == 0
    want = wanted_rows(boxes, scores, confidence, k)
    assert kept_rows(found) == want
    rest = found["scores"][len(want) :]
    assert (np.diff(rest) <= 0).all()
    assert len(found["scores"]) == min(k, scores.size)


def test_detect_equals_super_gradients(tmp_path: Path, data: Path) -> None:
    golden = np.load(data / "golden_processing.npz")
    found = detect(tmp_path, golden["nms.boxes"], nms_case()[1], k=1024, confidence=0.25, iou=0.7)
    rows = np.column_stack([found["boxes"], found["scores"], found["class_ids"]])[: int(found["count"])][:300]
    assert np.array_equal(rows, golden["nms.default"])
    assert int(found["unconverged"]) == 0


@pytest.mark.parametrize("n", [40, 200])
def test_detect_unconverged_is_finished_by_the_host(n: int, tmp_path: Path) -> None:
    boxes, scores = pipeline(n)
    found = detect(tmp_path, boxes, scores, 300)
    assert int(found["unconverged"]) > 0
    kept = nms(found["boxes"], found["scores"], found["class_ids"], 0.25, IOU)
    got = [(found["boxes"][i].tolist(), float(found["scores"][i]), int(found["class_ids"][i])) for i in kept]
    assert got == wanted_rows(boxes, scores, 0.25, 300)
    assert len(got) == n // 2


@pytest.mark.parametrize("name", CROWDS)
def test_detect_finish_equals_greedy_nms(name: str) -> None:
    boxes, scores = CROWDS[name]
    kinds = np.tile(np.arange(scores.shape[1]), len(boxes))
    every, flat = np.repeat(boxes, scores.shape[1], 0).astype(np.float32), scores.ravel().astype(np.float32)
    want = greedy(list(zip(every.tolist(), flat.tolist(), kinds.tolist(), strict=True)), 0.25, IOU)
    assert nms(every, flat, kinds, 0.25, IOU).tolist() == want


def test_detect_orders_equal_scores_by_position(tmp_path: Path) -> None:
    boxes, _ = crowd(8, 80, 40, 1)
    found = detect(tmp_path, boxes, np.full((80, 1), 0.5))
    assert kept_rows(found) == wanted_rows(boxes, np.full((80, 1), 0.5), 0.25, 300)


def test_detect_without_suppression_is_top_k(tmp_path: Path) -> None:
    boxes, scores = crowd(9, 50, 40, 7)
    found = detect(tmp_path, boxes, scores, k=31, confidence=0.0, iou=1.0)
    assert found["scores"].tolist() == np.sort(scores.astype(np.float32).ravel())[::-1][:31].tolist()
    anchor, kind = np.divmod(np.argsort(-scores.ravel())[:31], 7)
    assert found["class_ids"].tolist() == kind.tolist()
    assert np.array_equal(found["boxes"], boxes[anchor])
    assert int(found["count"]) == 31


@pytest.mark.parametrize("frame_hw", [(97, 161), (161, 97), (480, 1300), (636, 400)])
def test_detect_boxes_are_in_frame_pixels(frame_hw: tuple[int, int], tmp_path: Path, data: Path) -> None:
    golden = np.load(data / "golden_processing.npz")
    geometry = Geometry.of(frame_hw, 640, 636, 1024).vector()
    scores = np.array([[0.9], [0.8], [0.7]])
    found = detect(tmp_path, golden["boxes_in"], scores, iou=1.0, geometry=geometry)
    want = golden[f"yolo_nas.{frame_hw[0]}x{frame_hw[1]}.boxes_out"]
    height, width = frame_hw
    got = found["boxes"].clip(0, [width, height, width, height])
    assert np.allclose(got, want.clip(0, [width, height, width, height]), atol=3e-4)


def test_detect_has_tensorrts_operators(tmp_path: Path) -> None:
    graph = detect_graph(load_network(detector(tmp_path / "d.onnx", *crowd(0, 40, 40, 3)), DETECTOR), 300)
    assert varying_sides(graph) == {}
    assert not {node.op_type for node in graph.graph.node} & UNSUPPORTED_OPERATORS
    assert [side.dim_value for side in graph.graph.output[0].type.tensor_type.shape.dim] == [120, 4]


@pytest.mark.parametrize("k", [0, -5, 3841])
def test_detect_refuses_max_detections_out_of_range(k: int, tmp_path: Path) -> None:
    loaded = load_network(detector(tmp_path / "d.onnx", *crowd(0, 5, 40, 3)), DETECTOR)
    with pytest.raises(BundleError, match=f"max_detections: wanted 1 to 3840, got {k}"):
        detect_graph(loaded, k)
