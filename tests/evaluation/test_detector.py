"""How a drop of mAP is measured, and pictures kept for measuring again."""

import cv2
import numpy as np
import pytest

from nanoseg.evaluation import detector as quantize_measure
from nanoseg.evaluation.coco import BoxScores
from nanoseg.evaluation.coco_scenes import CocoScenes
from nanoseg.evaluation.detector import DetectorInputs, DetectorScores, detector_preprocessor, map_drop
from nanoseg.onnx_graphs.adapt.detector import load_detector
from tests.helpers.colour_detector import coco_images, colour_detector
from tests.helpers.tiny_networks import DETECTOR_PX


def measured(whole, *without):
    return DetectorScores(BoxScores(whole, whole), [BoxScores(value, value) for value in without])


def test_detector_drop_has_a_jackknife_error():
    values = np.random.default_rng(0).normal(0.5, 0.1, (2, 10))
    # Of a mean, the jackknife's error is the textbook's: the deviation over the root of their number.
    less = [[np.delete(row, i).mean() for i in range(10)] for row in values]
    before, after = (measured(row.mean(), *means) for row, means in zip(values, less, strict=True))
    points = 100 * (values[0] - values[1])
    expected = (points.mean(), points.std(ddof=1) / np.sqrt(10))
    assert map_drop(before, after) == pytest.approx(expected)
    assert map_drop(before, before) == (0, 0)
    few = (measured(row.mean(), *(np.delete(row[:4], i).mean() for i in range(4))) for row in values)
    assert map_drop(*few)[1] == pytest.approx(points[:4].std(ddof=1) / np.sqrt(4))
    assert map_drop(measured(0.5, *[0.5] * 9, None), measured(0.4, *[0.4] * 10)) == (pytest.approx(10), None)


@pytest.mark.parametrize(("room_for", "read"), [(0, 8), (2, 6), (9, 4)])
def test_detector_cached_images_are_equal(room_for, read, tmp_path, monkeypatch):
    monkeypatch.setattr(quantize_measure, "CACHE_BYTES", room_for * 3 * DETECTOR_PX**2)
    detector = load_detector(colour_detector(tmp_path / "finder.onnx"))
    scenes = CocoScenes(coco_images(tmp_path / "pictures"), tmp_path / "pictures")
    noise = np.random.default_rng(0).integers(0, 256, (50, 91, 3)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "pictures" / "0.png"), noise)  # levels of every kind, and a letterbox
    reads: list[int] = []

    class Counted:
        def __getitem__(self, index):
            reads.append(index)
            return scenes[index]

    shown = DetectorInputs(Counted(), range(4), np.array([2, 0, 1]), detector_preprocessor(detector, 60))
    first, again = ([(images.copy(), *rest) for images, *rest in shown] for _ in range(2))
    assert len(reads) == read
    for (images, geometry, truth), (images_again, geometry_again, truth_again) in zip(first, again, strict=True):
        assert np.array_equal(images, images_again)
        assert geometry == geometry_again
        assert np.array_equal(truth.xyxy, truth_again.xyxy)
        assert truth.class_id.tolist() == truth_again.class_id.tolist() == [2, 0, 1]
