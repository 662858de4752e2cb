"""Outputs compared in float32 and float16."""

import numpy as np

from nanoseg.onnx_graphs.fp16.compare import OutputComparison


def test_output_comparison_of_an_end_to_end_detector_matches_its_rows() -> None:
    boxes = np.array([[0, 0, 8, 8], [20, 20, 30, 30], [40, 0, 60, 9]], np.float32)[None]
    rows = {"boxes": boxes, "scores": np.array([[0.9, 0.8, 0.7]], np.float32), "class_ids": np.array([[1, 0, 1]])}
    other = {name: value[:, [1, 0, 2]] for name, value in rows.items()}
    other["scores"] = other["scores"] - np.array([0, 0, 0.5], np.float32)  # of the last row alone
    comparison = OutputComparison(of_detector=True)
    comparison.add(rows, other)
    found = {entry.name: round(entry.largest_difference, 5) for entry in comparison.report()}
    assert found == {"boxes": 0, "scores": 0.5, "class_ids": 0}
