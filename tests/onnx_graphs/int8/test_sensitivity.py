"""Sensitivity of each layer against whole networks that keep all other layers in float32."""

import numpy as np
import onnx
import pytest

from nanoseg.errors import BundleError, UsageError
from nanoseg.onnx_graphs.int8 import sensitivity as module
from nanoseg.onnx_graphs.int8.calibrate import Calibrator
from nanoseg.onnx_graphs.int8.quantize import quantizable_layers, quantize
from nanoseg.onnx_graphs.int8.sensitivity import measure_sensitivity
from nanoseg.onnx_graphs.model.prune import prune
from tests.helpers.onnx_run import run_unfused
from tests.helpers.tiny_residual import pictures, residual_detector


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return residual_detector()


@pytest.fixture(scope="module")
def ranges(model) -> dict[str, float]:
    calibrator = Calibrator(model, "minmax")
    for picture in pictures(4):
        calibrator.add(picture)
    # One that is far too small: what reads it suffers most.
    return calibrator.ranges() | {"cat": 0.05}


def outputs_of(model: onnx.ModelProto, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    found = run_unfused(model, images=image)
    return found["boxes"][0].astype(np.float64), found["scores"][0].astype(np.float64)


def by_hand(model: onnx.ModelProto, ranges: dict[str, float], layer: str, anchors: int) -> float:
    keep = [each.name for each in quantizable_layers(model) if each.name != layer]
    alone = quantize(model, ranges, keep)
    errors = []
    for picture in pictures(3):
        (boxes, scores), (moved, other) = outputs_of(model, picture), outputs_of(alone, picture)
        error = []
        for row in sorted(range(len(scores)), key=lambda row: -max(scores[row]))[:anchors]:
            left, top, right, bottom = boxes[row]
            size = np.sqrt(max(right - left, 1) * max(bottom - top, 1))
            error.append(max(abs(other[row] - scores[row])) + np.mean(abs(moved[row] - boxes[row])) / size)
        errors.append(np.mean(error))
    return float(np.mean(errors))


@pytest.mark.parametrize("anchors", [300, 20])
@pytest.mark.parametrize("kept_bytes", [1 << 29, 1])
def test_sensitivity_equals_whole_networks(model, ranges, anchors, kept_bytes, monkeypatch):
    monkeypatch.setattr(module, "ANCHORS", anchors)
    monkeypatch.setattr(module, "GROUP_BYTES", kept_bytes)
    seen = []
    found = measure_sensitivity(model, ranges, pictures(3), seen.append)
    assert seen == list(quantizable_layers(model))
    assert {each.layer for each in found} == set(seen)
    for each in found:
        assert each.error == pytest.approx(by_hand(model, ranges, each.layer.name, anchors), rel=0.02), each.layer
    assert [each.error for each in found] == sorted((each.error for each in found), reverse=True)
    assert found[-1].error > 0


def test_sensitivity_of_a_layer_of_scores(ranges):
    """Outputs that do not depend on the layer are the float32 network's."""
    model = residual_detector()
    graph = model.graph
    graph.node[-2].input[1] = "anchors"  # boxes are twice the anchors
    prune(model, ["boxes", "scores"])
    for each in measure_sensitivity(model, ranges, pictures(2)):
        assert each.error > 0


def test_sensitivity_keeps_the_tensors_of_one_group(model, ranges, monkeypatch):
    """Only the tensors that a group of layers reads are in memory at once."""
    computed = []
    plain = module._compute_tensors

    def counting(model, names, image, pictures):
        computed.append(names)
        return plain(model, names, image, pictures)

    monkeypatch.setattr(module, "_compute_tensors", counting)
    measure_sensitivity(model, ranges, pictures(1))
    assert computed == [["pool", "r0", "sum"]]
    computed.clear()
    monkeypatch.setattr(module, "GROUP_BYTES", 1)
    measure_sensitivity(model, ranges, pictures(1))
    assert len(computed) == 4
    assert computed[0] == []
    assert computed[-1] == ["pool"]


def test_sensitivity_refuses(model, ranges):
    with pytest.raises(UsageError, match="sensitivity: wanted images, got none"):
        measure_sensitivity(model, ranges, [])
    with pytest.raises(BundleError, match="layer head wants a range of 'pool', got none"):
        measure_sensitivity(model, {name: amax for name, amax in ranges.items() if name != "pool"}, pictures(1))
    with pytest.raises(BundleError, match="it is quantized already"):
        measure_sensitivity(quantize(model, ranges), ranges, pictures(1))
    with pytest.raises(BundleError, match="tiny: ONNX Runtime"):
        measure_sensitivity(model, ranges, [np.zeros((1, 3, 8, 8), np.float32)])
    encoder = residual_detector()
    prune(encoder, ["c4"])
    with pytest.raises(BundleError, match="tiny: wanted a detector of one input that gives boxes and scores"):
        measure_sensitivity(encoder, ranges, pictures(1))
