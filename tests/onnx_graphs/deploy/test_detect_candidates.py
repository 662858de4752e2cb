"""detect.onnx with more candidates than detections, and the host's NMS, against a plain greedy NMS in float32."""

from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from nanoseg.backends.onnxruntime.without_nms import without_nms
from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.deploy.detect import detect_graph
from nanoseg.onnx_graphs.model.contract import DETECTOR, load_network
from nanoseg.onnx_graphs.model.simplify import UNSUPPORTED_OPERATORS
from nanoseg.processing.geometry import Geometry
from nanoseg.processing.nms import NmsKind, complete_boxes, from_candidates, postprocess
from tests.helpers.onnx_run import run, run_bytes
from tests.helpers.tiny_networks import DETECTOR_PX, detector, varying_sides

CONFIDENCE, IOU = 0.25, 0.7
GEOMETRY = Geometry.of((DETECTOR_PX, DETECTOR_PX), DETECTOR_PX, DETECTOR_PX, DETECTOR_PX)


def scene(anchors: int, classes: int, reach: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (A, 4) and distinct scores (A, C), about three quarters of them above the threshold."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, reach, (anchors, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(4, 40, (anchors, 2))], 1)
    scores = (rng.permutation(anchors * classes) + 1.0) / (anchors * classes + 1)
    return boxes.astype(np.float32), scores.reshape(anchors, classes).astype(np.float32)


def plain_nms(
    boxes: np.ndarray, scores: np.ndarray, max_candidates: int, max_detections: int, nms: NmsKind = "by-class"
) -> list[tuple]:
    """super-gradients' order: the threshold, the best pairs, NMS, the best of what is left."""
    anchor, kind = np.nonzero(scores > np.float32(CONFIDENCE))
    best = np.argsort(-scores[anchor, kind], kind="stable")[:max_candidates]
    kept: list[int] = []
    box, class_id = boxes[anchor[best]], kind[best]
    area = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])
    for row in range(len(best)):
        others = np.array([i for i in kept if nms == "across-classes" or class_id[i] == class_id[row]], int)
        width = np.minimum(box[others, 2], box[row, 2]) - np.maximum(box[others, 0], box[row, 0])
        height = np.minimum(box[others, 3], box[row, 3]) - np.maximum(box[others, 1], box[row, 1])
        shared = np.maximum(width, 0) * np.maximum(height, 0)
        if not (shared > np.float32(IOU) * (area[others] + area[row] - shared)).any():
            kept.append(row)
    return [
        (tuple(box[i].tolist()), float(scores[anchor[best[i]], kind[best[i]]]), int(class_id[i]))
        for i in kept[:max_detections]
    ]


def as_rows(found: dict[str, np.ndarray]) -> list[tuple]:
    count = int(found["count"])
    columns = (found[name][:count].tolist() for name in ("boxes", "scores", "class_ids"))
    return [(tuple(box), score, kind) for box, score, kind in zip(*columns, strict=True)]


def in_frame(rows: list[tuple]) -> list[int]:
    """The classes of those that are not beyond the frame's border."""
    return [kind for box, _, kind in rows if box[0] < DETECTOR_PX and box[1] < DETECTOR_PX]


CASES = {
    # name: (anchors, classes, reach), max_candidates, max_detections
    "2,500 over the threshold": ((850, 4, 400), 1024, 300),
    "all of them kept": ((850, 4, 400), 3840, 3840),
    "a row of people": ((2600, 1, 120), 1024, 300),
    "more kept than 1,024": ((1500, 2, 900), 2000, 2000),
    "one detection": ((700, 3, 80), 1024, 1),
    "tiles of unequal size": ((300, 3, 60), 700, 300),
    "one row in the last tile": ((300, 3, 60), 513, 513),
    "eighty classes": ((100, 80, 60), 1024, 300),
    "fewer pairs than candidates": ((50, 2, 60), 1024, 300),
}


@pytest.mark.parametrize("kind", get_args(NmsKind))
@pytest.mark.parametrize("name", CASES)
def test_detect_with_candidates_equals_plain_nms(name: str, kind: NmsKind, tmp_path: Path) -> None:
    shape, max_candidates, max_detections = CASES[name]
    boxes, scores = scene(*shape)
    want = plain_nms(boxes, scores, max_candidates, max_detections, kind)
    graph = detect_graph(
        load_network(detector(tmp_path / "d.onnx", boxes, scores), DETECTOR), max_detections, max_candidates, kind
    )
    feeds = {
        "images": np.zeros((1, 3, DETECTOR_PX, DETECTOR_PX), np.float32),
        "geometry": GEOMETRY.vector(),
        "confidence": np.float32(CONFIDENCE),
        "iou": np.float32(IOU),
    }
    found = run(graph, **feeds)
    assert int(found["unconverged"]) == 0
    assert as_rows(found) == want
    assert len(found["candidates"]) == min(max_candidates, scores.size)
    assert len(found["boxes"]) == min(max_detections, max_candidates, scores.size)
    cut = without_nms(graph.SerializeToString())
    assert isinstance(cut, bytes)
    (candidates,) = run_bytes(cut, **feeds).values()
    assert np.array_equal(candidates, found["candidates"])
    thresholds = {"confidence": CONFIDENCE, "iou": IOU}
    on_host = from_candidates(candidates, GEOMETRY, **thresholds, max_detections=len(found["boxes"]), kind=kind)
    assert as_rows(on_host) == want
    unlimited = plain_nms(boxes, scores, scores.size, scores.size, kind)
    other: NmsKind = "by-class" if kind == "across-classes" else "across-classes"
    of_other = plain_nms(boxes, scores, max_candidates, max_detections, other)
    assert (of_other == want) == (scores.shape[1] == 1 or max_detections == 1)
    for raw in (found, on_host):
        limits = {**thresholds, "max_detections": max_detections}
        got, least = complete_boxes(raw, GEOMETRY, **limits, kind=kind, wanted=kind)
        assert got.class_id.tolist() == in_frame(want)
        redone, _ = complete_boxes(raw, GEOMETRY, **limits, kind=kind, wanted=other)
        assert redone.class_id.tolist() == in_frame(of_other)
        assert [row for row in want if row[1] > least] == [row for row in unlimited if row[1] > least]
        assert (want == unlimited) or least > CONFIDENCE


@pytest.mark.parametrize("kind", get_args(NmsKind))
def test_detect_unconverged_is_finished_on_all_candidates(kind: NmsKind, tmp_path: Path) -> None:
    left = 3 * np.arange(900)  # each box drops the next: 899 rounds
    boxes = np.stack([left, np.zeros(900), left + 30, np.full(900, 10)], 1)
    scores = np.zeros((900, 3))
    # Across classes each box has another class than the next.
    scores[np.arange(900), np.arange(900) % 3 if kind == "across-classes" else 0] = np.linspace(0.9, 0.5, 900)
    graph = detect_graph(load_network(detector(tmp_path / "d.onnx", boxes, scores), DETECTOR), 300, 1024, kind)
    images = np.zeros((1, 3, DETECTOR_PX, DETECTOR_PX), np.float32)
    frame = GEOMETRY
    thresholds = {"confidence": CONFIDENCE, "iou": IOU}
    found = run(graph, images=images, geometry=frame.vector(), **{k: np.float32(v) for k, v in thresholds.items()})
    assert int(found["unconverged"]) > 0
    assert len(found["boxes"]) == 300
    want = plain_nms(boxes.astype(np.float32), scores.astype(np.float32), 1024, 300, kind)
    on_host = from_candidates(found["candidates"], frame, **thresholds, max_detections=300, kind=kind)
    assert on_host["scores"].tolist() == [score for _, score, _ in want]
    inside = on_host["boxes"][:, 0] < DETECTOR_PX
    assert inside.sum() > 9
    finished = postprocess(found, frame, **thresholds, kind=kind)
    assert finished.confidence.tolist() == on_host["scores"][inside].tolist()


@pytest.mark.parametrize("kind", get_args(NmsKind))
def test_detect_with_candidates_has_tensorrts_operators(kind: NmsKind, tmp_path: Path) -> None:
    graph = detect_graph(load_network(detector(tmp_path / "d.onnx", *scene(600, 3, 60)), DETECTOR), 300, 1024, kind)
    assert varying_sides(graph) == {}
    assert not {node.op_type for node in graph.graph.node} & UNSUPPORTED_OPERATORS


@pytest.mark.parametrize("wrong", [0, -5, 3841])
def test_detect_refuses_max_candidates_out_of_range(wrong: int, tmp_path: Path) -> None:
    loaded = load_network(detector(tmp_path / "d.onnx", *scene(5, 3, 40)), DETECTOR)
    with pytest.raises(BundleError, match=f"max_candidates: wanted 1 to 3840, got {wrong}"):
        detect_graph(loaded, 300, wrong)


def test_without_nms_leaves_other_graphs_alone(tmp_path: Path) -> None:
    plain = detector(tmp_path / "d.onnx", *scene(5, 3, 40))
    assert without_nms(plain) == plain
    for content in (plain.read_bytes(), b"", b"no model", b"\x3a\xff"):
        assert without_nms(content) == content
    assert without_nms(tmp_path / "none.onnx") == tmp_path / "none.onnx"
