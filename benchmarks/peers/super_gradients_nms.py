"""super-gradients' NMS, re-created, against nanoseg's, on the raw outputs of a detector: 8,400 boxes of 80 classes.

Its Python post-processing (`PPYoloEPostPredictionCallback`) takes every pair of box and class above the threshold,
the best 1,000 of them, then torchvision.ops.batched_nms; its exported ONNX files take the best 1,000 boxes, then
ONNX's NonMaxSuppression, and sort what that gives: here by ONNX Runtime. The package itself can no longer be
installed. nanoseg's graph takes the best 1,024 pairs, by ONNX Runtime, and its host does NMS on those.

Objects of usual sizes, each found by 12 boxes above the threshold in its own class, the other scores below it.
`ratio` is against the Python way and `ratio_onnx` against the ONNX way for --objects objects; names with `crowded`
are for 100. One thread each, and its CPU time. nanoseg and the Python way must keep the same boxes; the ONNX way's
number is told.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
import torchvision
from onnx import TensorProto

from nanoseg.backends.onnxruntime.engine import OrtEngine
from nanoseg.errors import NanosegError
from nanoseg.onnx_graphs.deploy.nms import add_candidates
from nanoseg.onnx_graphs.model.builder import GraphBuilder, build_model, tensor_info
from nanoseg.processing.nms import DEFAULT_CANDIDATES, nms
from peers.detector_outputs import ANCHORS, CLASSES, Outputs, scene
from peers.settings import Settings
from peers.turns import Side, medians, ratio, take_turns, timed, totals

CONFIDENCE, IOU = 0.25, 0.7  # of its predict()
TOP_K, MOST = 1000, 300
CROWD = 100
REPEATS = 5  # calls a turn, as one is too short


def by_python(boxes: torch.Tensor, scores: torch.Tensor) -> np.ndarray:
    """Return (N, 6) xyxy, score, class as super-gradients' post-processing keeps them."""
    anchors, classes = (scores > CONFIDENCE).nonzero(as_tuple=False).T
    boxes, scores = boxes[anchors], scores[anchors, classes]
    if len(scores) > TOP_K:
        best = torch.topk(scores, TOP_K, largest=True, sorted=True).indices
        boxes, scores, classes = boxes[best], scores[best], classes[best]
    kept = torchvision.ops.boxes.batched_nms(boxes, scores, classes, IOU)
    columns = [boxes[kept], scores[kept].unsqueeze(-1), classes[kept].unsqueeze(-1)]
    return np.asarray(torch.cat(columns, 1)[:MOST].numpy())


def by_onnx() -> OrtEngine:
    """Return the engine of super-gradients' tail of an exported file: `found` (N, 6), image, class and row by score."""
    g = GraphBuilder()
    best = g.add("ReduceMax", "scores", np.array([2], np.int64), keepdims=0)
    _, row = g.add_top_k(best, TOP_K)
    row = g.add("Reshape", row, np.array([TOP_K], np.int64))
    boxes = g.add("Gather", "boxes", row, axis=1)
    scores = g.add("Transpose", g.add("Gather", "scores", row, axis=1), perm=[0, 2, 1])
    limits = np.array([MOST], np.int64), np.array([IOU], np.float32), np.array([CONFIDENCE], np.float32)
    kept = g.add("NonMaxSuppression", boxes, scores, *limits)  # (N, 3): image, class, row
    score = g.add("GatherND", scores, kept)
    of_image = g.add("Gather", kept, np.array([0, 2], np.int64), axis=1)
    class_id = g.add("Cast", g.add("Gather", kept, np.array([1], np.int64), axis=1), to=TensorProto.FLOAT)
    column = np.array([-1, 1], np.int64)
    g.add("Concat", g.add("GatherND", boxes, of_image), g.add("Reshape", score, column), class_id, name="found", axis=1)
    inputs = [
        tensor_info("boxes", np.float32, (1, ANCHORS, 4)),
        tensor_info("scores", np.float32, (1, ANCHORS, CLASSES)),
    ]
    model = build_model("super-gradients", inputs, [tensor_info("found", np.float32, ("N", 6))], g.nodes, g.constants)
    return OrtEngine(model.SerializeToString(), 1, name="super-gradients")


def candidates_engine() -> OrtEngine:
    """Return the engine of what nanoseg's detect.onnx does after the network on a CPU: `candidates` (L, 6)."""
    g = GraphBuilder()
    rows = add_candidates(g, "boxes", "scores", ANCHORS, CLASSES, DEFAULT_CANDIDATES)
    column = np.array([DEFAULT_CANDIDATES, 1], np.int64)
    columns = (rows.scores, g.add("Cast", rows.class_ids, to=TensorProto.FLOAT))
    g.add("Concat", rows.boxes, *(g.add("Reshape", each, column) for each in columns), name="candidates", axis=1)
    inputs = [
        tensor_info("boxes", np.float32, (1, ANCHORS, 4)),
        tensor_info("scores", np.float32, (1, ANCHORS, CLASSES)),
    ]
    outputs = [tensor_info("candidates", np.float32, (DEFAULT_CANDIDATES, 6))]
    model = build_model("nanoseg", inputs, outputs, g.nodes, g.constants)
    return OrtEngine(model.SerializeToString(), 1, name="nanoseg")


def ours(engine: OrtEngine, outputs: Outputs) -> np.ndarray:
    """Return (N, 6) as nanoseg keeps them."""
    found = engine(outputs._asdict())["candidates"]
    kept = nms(found[:, :4], found[:, 4], found[:, 5].astype(np.int32), CONFIDENCE, IOU, MOST)
    return np.asarray(found[kept])


def measure(settings: Settings) -> dict[str, Any]:
    """Return medians in milliseconds, and ratios."""
    torch.set_num_threads(1)
    candidates, exported, found = candidates_engine(), by_onnx(), dict[str, Any]()
    for suffix, objects in (("", settings.objects), ("_crowded", CROWD)):
        outputs = scene(objects)
        kept, wanted = ours(candidates, outputs), by_python(*(torch.from_numpy(each[0]) for each in outputs))
        if not np.array_equal(kept, wanted):
            raise NanosegError(f"{objects} objects: {len(kept)} boxes are not the {len(wanted)} of super-gradients")
        spent = take_turns(sides(outputs, candidates, exported), settings.rounds)
        found |= {f"{name}{suffix}_ms": medians(stages)["total"] for name, stages in spent.items()}
        found |= ratio(totals(spent["ours"]), totals(spent["batched_nms"]), f"ratio{suffix}")
        found |= ratio(totals(spent["ours"]), totals(spent["onnx_nms"]), f"ratio_onnx{suffix}")
        found |= {f"objects{suffix}": objects, f"kept{suffix}": len(kept)}
        found[f"kept_by_onnx{suffix}"] = len(exported(outputs._asdict())["found"])
    return found


def sides(outputs: Outputs, candidates: OrtEngine, exported: OrtEngine) -> dict[str, Side]:
    """Return the three ways on one detector's outputs."""
    boxes, scores = (torch.from_numpy(each[0]) for each in outputs)
    return {
        "ours": timed(lambda _: ours(candidates, outputs), REPEATS, time.thread_time),
        "batched_nms": timed(lambda _: by_python(boxes, scores), REPEATS, time.thread_time),
        "onnx_nms": timed(lambda _: by_score(exported(outputs._asdict())["found"]), REPEATS, time.thread_time),
    }


def by_score(found: np.ndarray) -> np.ndarray:
    """Return rows by falling score."""
    return np.asarray(found[np.argsort(-found[:, 4])])
