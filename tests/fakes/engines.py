"""Stand-ins at the boundary: engines that compute nothing, but take only what the real graphs take."""

from collections.abc import Mapping
from types import SimpleNamespace

import numpy as np

from nanoseg.backends.engine import TensorSpec, check_feeds
from nanoseg.backends.onnxruntime.pipeline import OrtPipeline
from nanoseg.errors import EngineError
from nanoseg.processing.geometry import CENTRED
from nanoseg.segmenter import Segmenter

F32, I32 = np.dtype(np.float32), np.dtype(np.int32)
K, S, R, E, GRID = 8, 64, 60, 128, 8
DECODER = "d" * 64  # sha256 of the bundle's decoder


class FakeEngine:
    """Answers with `answer(feeds)`, after checking the feeds; keeps what it was fed."""

    device = "fake"

    def __init__(self, name, inputs, answer, outputs=None):
        self.name, self.inputs, self.outputs, self.answer = name, inputs, outputs or {}, answer
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
    values = {"path": "fake", "name": "fake", "labels": ("bolt", "nut", "gear"), "confidence": 0.25, "iou": 0.7}
    values |= {"max_detections": 300, "nms": "by-class", "padding": CENTRED, "keypoints": None}
    values["networks"] = {"decoder": SimpleNamespace(sha256=DECODER)}
    return SimpleNamespace(**{**values, "detector_px": S, "rescale_px": R, "encoder_px": E, **changes})


def rows(boxes=(), scores=(), class_ids=(), count=None, unconverged=0):
    """detect.onnx's answer: these rows first, then zeros up to K."""
    out = {"boxes": np.zeros((K, 4), np.float32), "scores": np.zeros(K, np.float32), "class_ids": np.zeros(K, np.int32)}
    for name, values in zip(out, (boxes, scores, class_ids), strict=True):
        if len(values):
            out[name][: len(values)] = values
    return {**out, "count": np.int32(len(boxes) if count is None else count), "unconverged": np.int32(unconverged)}


def fake_decoder(masks=1, prompts=None, points=None, takes_masks=False, answer=None):
    """+1 where a prompt's points lie, -1 elsewhere, and its mask added; IoUs grow with the left side and with a mask.

    A padding point raises the IoU. With `prompts` 1 an absent point is one like any other, at the picture's corner.
    Input shapes are those of the real graphs; `answer(feeds)` takes the place of all this.
    """
    side = 4 * GRID

    def decode(feeds):
        coords, labels, geometry = feeds["point_coords"], feeds["point_labels"], feeds["geometry"]
        logits = np.full((len(coords), masks, side, side), -1, np.float32)
        iou = np.tile(np.linspace(0.5, 0.9, masks, dtype=np.float32), (len(coords), 1))
        at = coords * geometry[4:6] * (side / E)
        for i, one in enumerate(logits):
            there = (labels[i] >= 0) | ((labels[i] == -2) if prompts == 1 else False)
            if there.any():
                (left, top), (right, bottom) = at[i, there].min(0), at[i, there].max(0)
                one[:, max(int(top), 0) : int(np.ceil(bottom)) + 1, max(int(left), 0) : int(np.ceil(right)) + 1] = 1
                iou[i] += coords[i, there].min(0)[0] / 10_000
            iou[i] += (labels[i] == -1).sum() / 50
            one *= np.arange(1, masks + 1, dtype=np.float32)[:, None, None]
        if takes_masks:
            has_mask = feeds["has_mask_input"]
            logits += has_mask[:, None, None, None] * feeds["mask_input"]
            iou += has_mask[:, None] / 20
        return {"low_res_masks": logits, "iou_predictions": iou}

    inputs = {
        "image_embeddings": TensorSpec(F32, (1, 256, GRID, GRID)),
        "point_coords": TensorSpec(F32, (prompts, points, 2)),
        "point_labels": TensorSpec(F32, (prompts, points)),
        "geometry": TensorSpec(F32, (8,)),
    }
    if takes_masks:
        mask = TensorSpec(F32, (prompts, 1, side, side))
        inputs |= {"mask_input": mask, "has_mask_input": TensorSpec(F32, (prompts,))}
    outputs = {
        "low_res_masks": TensorSpec(F32, (prompts, masks, side, side)),
        "iou_predictions": TensorSpec(F32, (prompts, masks)),
    }
    name = "segment_mask.onnx" if takes_masks else "segment.onnx"
    return FakeEngine(name, inputs, answer or decode, outputs)


def fake_engines(found, masks=1, prompts=None, points=None, takes_masks=False):
    """detect answers `found`; see `fake_decoder` for the others, of which segment_mask is there with `takes_masks`."""
    embedding = TensorSpec(F32, (1, 256, GRID, GRID))
    vector, scalar = TensorSpec(F32, (8,)), TensorSpec(F32, ())
    engines = {
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
        "segment": fake_decoder(masks, prompts, points),
    }
    if takes_masks:
        engines["segment_mask"] = fake_decoder(masks, prompts, points, takes_masks=True)
    return engines


def segmenter_of(engines, bundle=None, **settings):
    """A segmenter that runs these engines; they are in its `.pipeline.engines`."""
    bundle = bundle or fake_bundle()
    return Segmenter(bundle, OrtPipeline(bundle, engines), **settings)
