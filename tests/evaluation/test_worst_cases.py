"""What is low, missed and false among made detections."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("cv2")
pytest.importorskip("pycocotools", reason="needs nanoseg[eval]")

from nanoseg.evaluation.coco_truth import read_coco_truth
from nanoseg.evaluation.evaluate_coco import EvalSettings
from nanoseg.evaluation.evaluation import evaluate
from nanoseg.evaluation.worst_cases import worst_cases
from tests.evaluation.coco_sets import encoded, simulated_coco

CONFIDENCE = 0.4


def result(truth, image, class_id, xywh, mask, score):
    category = truth.category_ids[class_id]
    return {"image_id": image.id, "category_id": category, "bbox": list(xywh), "segmentation": mask, "score": score}


def test_worst_cases_of_detections(tmp_path):
    truth = read_coco_truth(simulated_coco(tmp_path, images=1), tmp_path)
    image, empty = truth.images
    objects = [one for one in image.objects if not one.is_crowd]
    crowd = next(one for one in image.objects if one.is_crowd)
    nothing, corner = encoded(np.zeros((240, 320), bool)), (300.0, 220.0, 12.0, 12.0)
    left, top, width, height = crowd.xywh
    results = {
        image.id: [
            result(truth, image, crowd.class_id, (left, top, width / 2, height), nothing, 0.95),  # in the crowd
            result(truth, image, objects[0].class_id, objects[0].xywh, nothing, 0.9),
            result(truth, image, objects[1].class_id, objects[1].xywh, objects[1].mask, 0.8),
            result(truth, image, objects[1].class_id, corner, nothing, 0.7),  # false
            result(truth, image, objects[2].class_id, objects[2].xywh, objects[2].mask, 0.3),  # not confident
        ],
        empty.id: [result(truth, empty, 0, corner, nothing, 0.75), result(truth, empty, 0, corner, nothing, 0.2)],
    }
    evaluation = evaluate(truth, results, EvalSettings("detected", 0.01, 0.7), CONFIDENCE)
    cases = worst_cases(evaluation, CONFIDENCE, 20, prompted=False)
    assert [(case.value, case.xywh) for case in cases.low_iou] == [(0.0, objects[0].xywh), (1.0, objects[1].xywh)]
    assert [case.value for case in cases.missed] == sorted((one.area_px for one in objects[2:]), reverse=True)
    assert [(case.value, case.image.id) for case in cases.false] == [(0.75, empty.id), (0.7, image.id)]
    few = worst_cases(evaluation, CONFIDENCE, 1, prompted=False)
    assert [len(kind) for kind in few] == [1, 1, 1]
    assert few.missed[0] == cases.missed[0]


def test_worst_cases_of_true_boxes_are_low_alone(tmp_path):
    truth = read_coco_truth(simulated_coco(tmp_path, images=1), tmp_path)
    results = {
        image.id: [result(truth, image, one.class_id, one.xywh, one.mask, 0.1) for one in image.objects]
        for image in truth.images
    }
    evaluation = evaluate(truth, results, EvalSettings("truth", 0.01, 0.7), CONFIDENCE)
    cases = worst_cases(evaluation, CONFIDENCE, 20, prompted=True)
    assert [len(kind) for kind in cases] == [len(truth.images[0].objects), 0, 0]
    assert {case.value for case in cases.low_iou} == {1.0}
