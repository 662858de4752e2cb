"""Compose detect.onnx: a detector, exact NMS, and boxes in pixels of the frame."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto

from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.deploy.nms import add_candidates, add_nms, add_rows
from nanoseg.onnx_graphs.model.builder import GraphBuilder, build_model, tensor_info
from nanoseg.onnx_graphs.model.contract import SourceNetwork, with_native_input_type
from nanoseg.processing.nms import NmsKind

# The limit of TensorRT's TopK.
TOPK_LIMIT = 3840


def detect_graph(
    detector: SourceNetwork, max_detections: int, max_candidates: int | None = None, kind: NmsKind = "by-class"
) -> onnx.ModelProto:
    """Compose the graph of a checked detector (images (1, 3, S, S) -> boxes (1, A, 4), scores (1, A, C)).

    As in super-gradients, the best pairs of box and class are candidates, NMS drops some of them, and the best of the
    others are the detections. The rows of an END2END detector whose boxes do not overlap are all kept, whatever `iou`
    is, unless NMS across classes is wanted, which is done on all detectors' rows.

    Inputs: `images`, float32, or float16 where the detector computes in it; `geometry` (8,) and the scalars
    `confidence` and `iou`, float32.

    Outputs: K rows of `boxes` (K, 4) float32, xyxy in pixels of the frame, not clipped, `scores` (K,) float32 and
    `class_ids` (K,) int32; `count` () int32, the number of rows that NMS keeps: they come first, in descending order of
    score, then other candidates in theirs; `unconverged` () int32: unless it is 0, the host has to redo NMS;
    `candidates` (L, 6) float32: what it is done on, in descending order of score: xyxy in pixels of `images`, score,
    class (`nanoseg.processing.nms`). Without NMS there are no candidates.

    A detector of poses also gives `keypoints` (K, J, 3) float32: x and y in pixels of the frame, and confidence; its
    `candidates` are (L, 6 + 3 J).

    Args:
        detector: a detector that fulfils DETECTOR, POSE_DETECTOR or END2END.
        max_detections: K, the most rows after NMS; at most L.
        max_candidates: L, the most rows before NMS, at least 1; by default K; A * C, or A of an END2END detector, where
            that is less. Without NMS it is K.
        kind: Whether a box is dropped by better ones of its class, or of any.

    Raises:
        BundleError: a number is not in 1..3840.
    """
    max_candidates = max_detections if max_candidates is None else max_candidates
    for name, number in (("max_detections", max_detections), ("max_candidates", max_candidates)):
        if not 1 <= number <= TOPK_LIMIT:
            raise BundleError(f"{name}: wanted 1 to {TOPK_LIMIT}, got {number}")
    side, anchors, classes = detector.dims["S"], detector.dims["A"], detector.dims.get("C", 1)
    joints = detector.dims.get("J", 0)
    has_nms = detector.needs_nms or kind == "across-classes"
    candidates = min(max_candidates if has_nms else max_detections, anchors * classes)
    k = min(max_detections, candidates)
    names = {name: f"nanoseg/detector_{name}" for name in ("boxes", "scores", "class_ids", "keypoints")}
    nodes, dtype = with_native_input_type(detector.renamed(names), "images")
    g = GraphBuilder()
    if detector.is_end2end:
        rows = add_rows(g, names["boxes"], names["scores"], names["class_ids"], anchors, candidates)
    else:
        keypoints = names["keypoints"] if joints else None
        rows = add_candidates(g, names["boxes"], names["scores"], anchors, classes, candidates, keypoints, 3 * joints)
    if has_nms:
        keep, unconverged = add_nms(g, rows, candidates, "confidence", "iou", kind)
    else:
        keep = g.add("Cast", g.add("Greater", rows.scores, "confidence"), to=TensorProto.FLOAT)
        unconverged = g.add("Mul", "iou", np.float32(0))  # read, so that no builder drops the input
    # Descending position, plus L for a kept row: sorting by it keeps the order within both parts.
    position = np.arange(candidates, 0, -1, dtype=np.float32).reshape(1, candidates)
    _, order = g.add_top_k(g.add("Add", g.add("Mul", keep, np.float32(candidates)), position), k)
    order = g.add("Reshape", order, np.array([k], np.int64))
    offset, scale = (g.add("Gather", "geometry", np.array(at, np.int64)) for at in ([2, 3, 2, 3], [0, 1, 0, 1]))
    boxes = g.add("Gather", rows.boxes, order, axis=0)
    g.add("Div", g.add("Sub", boxes, offset), scale, name="boxes")
    scores = g.add("Reshape", rows.scores, np.array([candidates], np.int64))
    g.add("Gather", scores, order, name="scores", axis=0)
    g.add("Cast", g.add("Gather", rows.class_ids, order, axis=0), name="class_ids", to=TensorProto.INT32)
    kept = g.add("ReduceSum", keep, np.array([0, 1], np.int64), keepdims=0)
    count = kept if k == candidates else g.add("Min", kept, np.float32(k))
    g.add("Cast", count, name="count", to=TensorProto.INT32)
    g.add("Cast", unconverged, name="unconverged", to=TensorProto.INT32)
    outputs = [
        tensor_info("boxes", np.float32, (k, 4)),
        tensor_info("scores", np.float32, (k,)),
        tensor_info("class_ids", np.int32, (k,)),
        tensor_info("count", np.int32, ()),
        tensor_info("unconverged", np.int32, ()),
    ]
    if has_nms:
        to_column = np.array([candidates, 1], np.int64)
        columns = (rows.scores, g.add("Cast", rows.class_ids, to=TensorProto.FLOAT))
        parts = [rows.boxes, *(g.add("Reshape", each, to_column) for each in columns)]
        g.add("Concat", *parts, *([rows.keypoints] if rows.keypoints else []), name="candidates", axis=1)
        outputs.append(tensor_info("candidates", np.float32, (candidates, 6 + 3 * joints)))
    if rows.keypoints is not None:
        _add_keypoints(g, rows.keypoints, order, k, joints)
        outputs.append(tensor_info("keypoints", np.float32, (k, joints, 3)))
    return build_model(
        "detect",
        [
            tensor_info("images", dtype, (1, 3, side, side)),
            tensor_info("geometry", np.float32, (8,)),
            tensor_info("confidence", np.float32, ()),
            tensor_info("iou", np.float32, ()),
        ],
        outputs,
        [*nodes, *g.nodes],
        [*detector.model.graph.initializer, *g.constants],
    )


def _add_keypoints(g: GraphBuilder, rows: str, order: str, k: int, joints: int) -> None:
    """Append the output `keypoints` (K, J, 3): those of the detections, in pixels of the frame."""
    offset, scale = (g.add("Gather", "geometry", np.array(at, np.int64)) for at in ([2, 3], [0, 1]))
    # Confidences are neither moved nor scaled.
    offset = g.add("Concat", offset, np.zeros(1, np.float32), axis=0)
    scale = g.add("Concat", scale, np.ones(1, np.float32), axis=0)
    chosen = g.add("Reshape", g.add("Gather", rows, order, axis=0), np.array([k, joints, 3], np.int64))
    g.add("Div", g.add("Sub", chosen, offset), scale, name="keypoints")
