"""The inputs that a mask decoder is measured on."""

from pathlib import Path

import numpy as np
import pytest

from nanoseg.evaluation.scenes import Scene
from nanoseg.onnx_graphs.adapt.decoder import load_decoder
from nanoseg.onnx_graphs.fp16.inputs import DecoderInputs, grid_of_boxes
from tests.data.fill_weights import image_u8
from tests.helpers.onnx_run import run


def scene(boxes: int) -> Scene:
    """A picture of 80 x 40 with boxes of 8 x 8."""
    corner = np.random.default_rng(boxes).uniform(0, 30, (boxes, 2)).astype(np.float32)
    xyxy = np.concatenate([corner, corner + 8], 1)
    return Scene(image_u8(0, 40, 80), xyxy, np.zeros(boxes, np.int64), lambda: np.zeros((boxes, 40, 80), bool))


@pytest.mark.parametrize(
    ("name", "boxes", "batches"),
    [("decoder", 3, [3]), ("decoder", 20, [16, 4]), ("decoder", 0, [9]), ("sam", 2, [1, 1]), ("masks", 3, [3])],
)
def test_decoder_inputs(name: str, boxes: int, batches: list[int], networks: Path) -> None:
    decoder = load_decoder(networks / f"{name}.onnx", mask_prompts=name != "decoder")
    given = scene(boxes)
    found = list(DecoderInputs(networks / "encoder.onnx", decoder)(given))
    by_mask = name != "decoder"
    assert len(found) == len(batches) * (4 if by_mask else 2)
    of_boxes = [each for each in found if each.boxes is not None]
    assert [each.first for each in of_boxes] == [sum(batches[:i]) for i in range(len(batches))]
    every = given.xyxy if boxes else grid_of_boxes(40, 80)
    np.testing.assert_array_equal(np.concatenate([each.boxes for each in of_boxes]), every.astype(np.float32))
    corners = np.concatenate([each.feeds["point_coords"] for each in of_boxes])
    np.testing.assert_allclose(corners.reshape(-1, 4), every * 0.8, rtol=1e-5)  # 80 px become 64
    assert all((each.feeds["point_labels"] == [2, 3]).all() for each in of_boxes)
    points = [each for each in found if (each.feeds["point_labels"] == [1, -1]).all()]
    assert len(points) == len(found) // 2
    centres = np.concatenate([each.feeds["point_coords"][:, 0] for each in points[:: 2 if by_mask else 1]])
    np.testing.assert_allclose(centres, (every[:, :2] + every[:, 2:]) * 0.4, rtol=1e-5)
    for without, with_masks in zip(found[::2], found[1::2], strict=True) if by_mask else ():
        assert not without.feeds["has_mask_input"].any()
        assert with_masks.feeds["has_mask_input"].all()
        output = run(decoder.model, **without.feeds)
        best = output["iou_predictions"].argmax(1)
        masks = output["low_res_masks"][np.arange(len(best)), best]
        np.testing.assert_allclose(with_masks.feeds["mask_input"][:, 0], masks, rtol=1e-4)
