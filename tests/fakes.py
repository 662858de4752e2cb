"""Stand-ins at the boundary: engines that compute nothing, but take only what the real graphs take."""

from collections.abc import Mapping
from types import SimpleNamespace

import numpy as np

from nanoseg.backends.engine import TensorSpec, check_feeds
from nanoseg.errors import EngineError

F32, I32 = np.dtype(np.float32), np.dtype(np.int32)
K, S, R, E, GRID = 8, 64, 60, 128, 8


class FakeEngine:
    """Answers with `answer(feeds)`, after checking the feeds; keeps what it was fed."""

    device = "fake"

    def __init__(self, name, inputs, answer):
        self.name, self.inputs, self.outputs, self.answer = name, inputs, {}, answer
        self.calls: list[dict[str, np.ndarray]] = []
        self.closed = 0

    def __call__(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        if self.closed:
            raise EngineError(f"{self.name}: it was closed")
        check_feeds(self.name, self.inputs, feeds)
        assert all(array.flags.c_contiguous for array in feeds.values())
        self.calls.append({name: array.copy() for name, array in feeds.items()})
        return self.answer(feeds)

    def close(self):
        self.closed += 1


def fake_bundle(**changes):
    values = {"path": "fake", "labels": ("bolt", "nut", "gear"), "confidence": 0.25, "iou": 0.7}
    return SimpleNamespace(**{**values, "detector_px": S, "rescale_px": R, "encoder_px": E, **changes})


def rows(boxes=(), scores=(), class_ids=(), count=None, unconverged=0):
    """detect.onnx's answer: these rows first, then zeros up to K."""
    out = {"boxes": np.zeros((K, 4), np.float32), "scores": np.zeros(K, np.float32), "class_ids": np.zeros(K, np.int32)}
    for name, values in zip(out, (boxes, scores, class_ids), strict=True):
        if len(values):
            out[name][: len(values)] = values
    return {**out, "count": np.int32(len(boxes) if count is None else count), "unconverged": np.int32(unconverged)}


def fake_engines(found, masks=1, prompts=None):
    """detect answers `found`; segment gives +1 where a prompt's box is, -1 elsewhere; IoUs grow with its left side."""

    def segment(feeds):
        coords, geometry = feeds["point_coords"], feeds["geometry"]
        logits = np.full((len(coords), masks, 4 * GRID, 4 * GRID), -1, np.float32)
        at = coords * geometry[4:6] * (4 * GRID / E)
        for one, xy in zip(logits, at, strict=True):
            (left, top), (right, bottom) = np.floor(xy.min(0)).astype(int), np.ceil(xy.max(0)).astype(int)
            one[:, max(top, 0) : bottom, max(left, 0) : right] = 1
            one *= np.arange(1, masks + 1, dtype=np.float32)[:, None, None]
        iou = np.tile(np.linspace(0.5, 0.9, masks, dtype=np.float32), (len(coords), 1))
        return {"low_res_masks": logits, "iou_predictions": iou + coords[:, :1, 0] / 10_000}

    embedding = TensorSpec(F32, (1, 256, GRID, GRID))
    vector, scalar = TensorSpec(F32, (8,)), TensorSpec(F32, ())
    return {
        "detect": FakeEngine(
            "detect.onnx",
            {"images": TensorSpec(F32, (1, 3, S, S)), "geometry": vector, "confidence": scalar, "iou": scalar},
            lambda feeds: found,
        ),
        "embed": FakeEngine(
            "embed.onnx",
            {"image": TensorSpec(F32, (1, 3, E, E))},
            lambda feeds: {"image_embeddings": np.full(embedding.shape, feeds["image"].mean(), np.float32)},
        ),
        "segment": FakeEngine(
            "segment.onnx",
            {
                "image_embeddings": embedding,
                "point_coords": TensorSpec(F32, (prompts, None, 2)),
                "point_labels": TensorSpec(F32, (prompts, None)),
                "geometry": vector,
            },
            segment,
        ),
    }
