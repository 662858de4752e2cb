"""`segmenter.segment` on SAM's full-size decoder against segment-anything's predictor, with formula weights.

The decoder runs in torch as a bundle's graph would, so what is tested is everything around it: prompts in pixels of
a frame, their order, padding and absent points, masks, several prompts in one call.
"""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs nanoseg[export]")

from nanoseg.backends.engine import TensorSpec  # noqa: E402
from nanoseg.models.mask_decoder import MaskDecoder  # noqa: E402
from nanoseg.processing.geometry import Geometry  # noqa: E402
from nanoseg.segmenter import Embedding  # noqa: E402
from tests.data.fill_weights import fill, normal_f32  # noqa: E402
from tests.fakes.engines import F32, FakeEngine, fake_bundle, fake_engines, rows, segmenter_of  # noqa: E402

MASK_ATOL, IOU_ATOL = 2e-4, 6e-6  # ten times the float32 noise of these cases
MASK = normal_f32(32, (1, 256, 256))
BOX = [100, 200, 700, 650]
# As one would give them to the predictor; `native` are its answers, of which the lone point has its padding point.
CASES = {
    "box": {"boxes": [BOX]},
    "point": {"points": [[[512, 300]]], "labels": [[1]]},
    "box_plus_points": {"boxes": [BOX], "points": [[[400, 400], [650, 300]]], "labels": [[1, 0]]},
    "point_with_pad": {"points": [[[512, 300], [0, 0]]], "labels": [[1, -1]]},
    "box_with_mask": {"boxes": [BOX], "mask_input": [MASK]},
}


@pytest.fixture(scope="module")
def golden(data):
    with np.load(data / "golden_sam_mask_decoder.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def engines(data):
    manifest = json.loads((data / "manifest_sam_prompt_encoder_mask_decoder.json").read_text())
    module = MaskDecoder()
    module.load_state_dict({name: torch.from_numpy(value) for name, value in fill(manifest).items()})
    module.eval()

    def answer(feeds):
        tensors = {name: torch.from_numpy(value) for name, value in feeds.items()}
        tensors["point_coords"] = tensors["point_coords"] * tensors.pop("geometry")[4:6]
        with torch.inference_mode():
            masks, iou = module(**tensors)
        return {"low_res_masks": masks.numpy(), "iou_predictions": iou.numpy()}

    sides = {
        "image_embeddings": (1, 256, 64, 64),
        "point_coords": (None, None, 2),
        "point_labels": (None, None),
        "geometry": (8,),
    }
    masked = {**sides, "mask_input": (None, 1, 256, 256), "has_mask_input": (None,)}
    outputs = {"iou_predictions": TensorSpec(F32, (None, 4))}
    made = fake_engines(rows())
    for name, inputs in (("segment", sides), ("segment_mask", masked)):
        specs = {key: TensorSpec(F32, shape) for key, shape in inputs.items()}
        made[name] = FakeEngine(f"{name}.onnx", specs, answer, outputs)
    return made


@pytest.fixture(scope="module")
def segmenter(engines):
    return segmenter_of(engines, fake_bundle(encoder_px=1024))


def embedding(frame_px, resize="pil"):
    return Embedding.of(normal_f32(31, (1, 256, 64, 64)), Geometry.of((frame_px, frame_px), 64, 60, 1024, resize))


def in_frame(given, frame_px):
    scale = frame_px / 1024
    return {
        name: [np.multiply(value, scale) for value in values] if name in ("boxes", "points") else values
        for name, values in given.items()
    }


def check(golden, case, logits, iou, form=".native", iou_key="iou"):
    """Four masks of one prompt against the predictor's; `form` is empty for the ONNX form, which NanoSAM runs."""
    np.testing.assert_allclose(iou, golden[f"{case}{form}.{iou_key}"][0], rtol=0, atol=IOU_ATOL)
    key = f"{case}{form}.low_res_masks"
    sample = logits.ravel()[:: int(golden[f"{key}.stride"])]
    np.testing.assert_allclose(sample, golden[f"{key}.sample"], rtol=0, atol=MASK_ATOL)
    assert np.abs(logits, dtype=np.float64).sum() == pytest.approx(golden[f"{key}.stats"][2], rel=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_sam_predictor_each_prompt_is_answered_as_by_the_predictor(segmenter, golden, case):
    frame_px = 2048 if case == "box" else 1024
    masks = segmenter.segment(embedding(frame_px), **in_frame(CASES[case], frame_px), all_masks=True)
    assert len(masks) == 4
    check(golden, case, masks.logits, masks.confidence)
    # How many tokens SAM made of it: what we give the decoder, to the number.
    engine = segmenter.pipeline.engines["segment_mask" if case == "box_with_mask" else "segment"]
    labels = engine.calls[-1]["point_labels"]
    assert (labels != -2).sum() == labels.size == golden[f"{case}.native.n_sparse_tokens"]
    # The reference's scores are of the ONNX form, which has no padding point for a lone one.
    if case != "point":
        np.testing.assert_allclose(masks.stability(), golden[f"{case}.stability_score"][0], rtol=0, atol=2e-4)


def test_sam_predictor_all_prompts_at_once_are_answered_as_by_the_predictor(segmenter, golden):
    kinds = ("boxes", "points", "labels", "mask_input")
    given = {kind: [(one.get(kind) or [None])[0] for one in CASES.values()] for kind in kinds}
    masks = segmenter.segment(embedding(1024), **given, all_masks=True)
    assert len(segmenter.pipeline.engines["segment_mask"].calls[-1]["point_labels"]) == len(CASES)
    for i, case in enumerate(CASES):
        check(golden, case, masks.logits[4 * i : 4 * i + 4], masks.confidence[4 * i : 4 * i + 4])


def test_sam_predictor_best_of_four_and_its_refinement(segmenter, golden):
    one = embedding(1024)
    first = segmenter.segment(one, boxes=[BOX])
    best = int(golden["box.native.iou"].argmax())
    np.testing.assert_allclose(first.confidence, golden["box.native.iou"][0, best : best + 1], rtol=0, atol=IOU_ATOL)
    # has_mask_input 0 is no mask at all; a mask is one.
    second = segmenter.segment(one, boxes=[BOX, BOX], mask_input=[None, first.logits[0]])
    np.testing.assert_allclose(second.logits[0], first.logits[0], rtol=0, atol=MASK_ATOL)
    assert np.abs(second.logits[1] - first.logits[0]).max() > 0.1
    alone = segmenter.segment(one, mask_input=first.logits)
    assert np.abs(alone.logits[0] - second.logits[1]).max() > 0.1


def test_sam_predictor_of_nanosam_has_no_padding_point(segmenter, golden):
    """A lone point, and points beside others' boxes, as NanoSAM's predictor gives them to the decoder."""
    point = CASES["point"]
    masks = segmenter.segment(embedding(1024, "nanosam"), **point, all_masks=True)
    assert segmenter.pipeline.engines["segment"].calls[-1]["point_labels"].tolist() == [[1]]
    check(golden, "point", masks.logits, masks.confidence, form="", iou_key="iou_predictions")
    masks = segmenter.segment(
        embedding(1024, "nanosam"), **CASES["point_with_pad"], all_masks=True
    )  # given by the user
    check(golden, "point_with_pad", masks.logits, masks.confidence)
    mixed = {"boxes": [None, BOX], "points": [point["points"][0], None], "labels": [[1], None]}
    masks = segmenter.segment(embedding(1024, "nanosam"), **mixed, all_masks=True)
    assert segmenter.pipeline.engines["segment"].calls[-1]["point_labels"].tolist() == [[1, -2], [2, 3]]
    check(golden, "point", masks.logits[:4], masks.confidence[:4], form="", iou_key="iou_predictions")
    check(golden, "box", masks.logits[4:], masks.confidence[4:])
