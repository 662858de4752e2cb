"""The exported mask decoder at full size, against segment-anything's outputs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.fill_weights import normal_f32
from tests.helpers.full_size import FullSize
from tests.models.export.test_mask_decoder import FORBIDDEN, run

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def full_size(full_size_networks: FullSize) -> dict[str, Path]:
    """Both files of a bare SAM checkpoint, with keys of an image encoder beside the decoder's."""
    return {"plain": full_size_networks.decoder(), "masked": full_size_networks.decoder(masks=True)}


MASK_INPUTS = {"mask_input": ["N", 1, 256, 256], "has_mask_input": ["N"]}


@pytest.mark.parametrize(("form", "more"), [("plain", {}), ("masked", MASK_INPUTS)])
def test_export_mask_decoder_signature_and_operators(
    full_size: Mapping[str, Path], form: str, more: dict[str, list[Any]]
) -> None:
    model = onnx.load(full_size[form])
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 19)]
    assert not {node.op_type for node in model.graph.node} & FORBIDDEN
    assert full_size[form].stat().st_size <= 17_000_000
    session = onnxruntime.InferenceSession(str(full_size[form]), providers=["CPUExecutionProvider"])
    assert {value.name: value.shape for value in session.get_inputs()} == {
        "image_embeddings": [1, 256, 64, 64],
        "point_coords": ["N", "P", 2],
        "point_labels": ["N", "P"],
        **more,
    }
    assert [(value.name, value.shape) for value in session.get_outputs()] == [
        ("low_res_masks", ["N", 4, 256, 256]),
        ("iou_predictions", ["N", 4]),
    ]


CASES = ["box", "point", "box_plus_points", "point_with_pad"]


@pytest.mark.parametrize(
    ("form", "case"),
    [*(("plain", case) for case in CASES), *(("masked", case) for case in (*CASES, "box_with_mask"))],
)
def test_export_mask_decoder_golden(full_size: Mapping[str, Path], data: Path, form: str, case: str) -> None:
    with np.load(data / "golden_sam_mask_decoder.npz") as file:
        golden = {name.removeprefix(f"{case}."): file[name] for name in file.files if name.startswith(f"{case}.")}
    feed = {name: golden[name] for name in ("point_coords", "point_labels")}
    if form == "masked":
        # An unused mask has no influence.
        feed |= {"mask_input": normal_f32(32, (1, 1, 256, 256)), "has_mask_input": golden["has_mask_input"]}
    found = run(full_size[form], {"image_embeddings": normal_f32(31, (1, 256, 64, 64)), **feed})
    np.testing.assert_allclose(found["iou_predictions"], golden["iou_predictions"], rtol=0, atol=6e-6)
    sample = found["low_res_masks"].ravel()[:: int(golden["low_res_masks.stride"])]
    np.testing.assert_allclose(sample, golden["low_res_masks.sample"], rtol=0, atol=2e-4)


def test_export_mask_decoder_with_masks_runs_unequal_prompts(full_size: Mapping[str, Path]) -> None:
    """Two prompts in one call equal each alone; the one without a mask runs on the plain file."""
    embedding = {"image_embeddings": normal_f32(31, (1, 256, 64, 64))}
    mask = normal_f32(32, (2, 1, 256, 256))
    points = {
        "point_coords": np.array([[[512, 300], [0, 0], [9, 9]], [[7, 7], [8, 8], [9, 9]]], np.float32),
        "point_labels": np.array([[1, -1, -2], [-2, -2, -2]], np.float32),
    }
    has_mask = np.array([0, 1], np.float32)
    together = run(full_size["masked"], {**embedding, **points, "mask_input": mask, "has_mask_input": has_mask})
    bare = run(full_size["plain"], {**embedding, **{name: value[:1, :2] for name, value in points.items()}})
    mask_alone = {**{name: value[1:, :1] for name, value in points.items()}, "mask_input": mask[1:]}
    alone = run(full_size["masked"], {**embedding, **mask_alone, "has_mask_input": has_mask[1:]})
    for name, atol in (("low_res_masks", 2e-4), ("iou_predictions", 6e-6)):
        np.testing.assert_allclose(together[name], np.concatenate([bare[name], alone[name]]), rtol=0, atol=atol)
