"""Polygons of the demo's objects (sources/18): none of one or two points, and pycocotools' masks are ours."""

import numpy as np
import pytest

pytest.importorskip("cv2")
pytest.importorskip("onnxruntime", reason="needs nanoseg[cpu]")
coco = pytest.importorskip("pycocotools.mask", reason="needs nanoseg[eval]")

import nanoseg  # noqa: E402
from nanoseg.sources.simulator.demo_lines import DemoLines  # noqa: E402


def test_polygons_of_the_demo_are_its_masks() -> None:
    lines, objects = DemoLines(), 0
    with nanoseg.load("parts", "onnxruntime") as segmenter:
        for index in range(0, 300, 100):
            found = segmenter(lines.frame(index))
            masks = found.mask
            height, width = masks.shape[1:]
            for i in range(len(found)):
                polygons = found.masks.polygons(i)
                assert all(len(polygon) >= 4 for polygon in polygons)
                flat = [polygon.ravel().astype(float).tolist() for polygon in polygons]
                if flat:
                    again = coco.decode(coco.merge(coco.frPyObjects(flat, height, width))).astype(bool)
                    assert np.array_equal(again, masks[i])
                else:
                    assert not masks[i].any()
                objects += 1
    assert objects > 15
