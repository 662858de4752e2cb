"""Work by the layer lists of TensorRT for RTX."""

from types import SimpleNamespace

import pytest

from nanoseg.backends.tensorrt.build import layer_list
from nanoseg.backends.tensorrt.build.layer_list import Built
from nanoseg.benchmark import layer_lists
from nanoseg.benchmark.estimate import BundleWork, StageWork, bundle_work
from nanoseg.benchmark.layer import Layer, work_of
from nanoseg.benchmark.roofline import STAGES
from nanoseg.bundle import EMBEDDED_BUNDLE, open_bundle
from tests.backends.tensorrt.build.test_layer_list import FRAME, HALVES, a_layer


def test_layers_have_the_multiply_adds_of_their_nodes_once():
    weights = f"Constants: [ {HALVES}]"
    conv = a_layer("node_conv_myl0_3", "correlation", FRAME).replace("Constants: []", weights)
    conv = conv.replace("Outputs: []", f"Outputs: [ {HALVES}], Metadata: [ONNX Layer: node_conv][ONNX Layer: relu]")
    moved = a_layer("__myl_Tran_myl0_1", "kgen", HALVES) + ", Metadata: [ONNX Layer: node_conv]"
    log = ["\n".join(["Layers:", moved, conv, conv.replace("conv_myl0_3", "conv_myl0_4"), "I/O Tensors: none"])]
    found = layer_list.layers(Built(log, {}, 0, 0, {"node_conv": ("fp16", 77)}))
    assert found == [
        Layer("Tran", "", 0, True, 120_000, 0, 0),
        Layer("node_conv", "fp16", 77, True, 60_000, 120_000, 120_000),
        Layer("node_conv", "", 0, True, 60_000, 120_000, 120_000),
    ]


def test_each_shape_of_a_decoder_is_built_once(monkeypatch):
    bundle, names = open_bundle(EMBEDDED_BUNDLE), []
    monkeypatch.setattr(layer_lists, "find_builder", lambda _kind: SimpleNamespace(api=None))
    monkeypatch.setattr(layer_lists, "build", lambda _api, _path, name, _shapes: names.append(name) or name)
    monkeypatch.setattr(layer_lists, "layers", lambda name: [Layer(name, "", 0, True, 1, 1, 0)])
    stages = {name: StageWork(name, "", []) for name in STAGES}
    listed = layer_lists.listed_work(bundle, BundleWork(20, stages, {}))
    assert sorted(names) == ["detect", "embed", "prepare", "segment_boxes", "segment_boxes"]  # of 8, 8 and 4
    assert len(listed.stages["segment"].layers) == 3


@pytest.mark.slow
def test_graphs_and_layer_lists_agree_on_the_embedded_bundle():
    """On multiply-adds wholly; on kernels and bytes as far as two builders may."""
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
    bundle = open_bundle(EMBEDDED_BUNDLE)
    own = bundle_work(bundle, 4)
    listed = layer_lists.listed_work(bundle, own)
    for name, stage in listed.stages.items():
        theirs, ours = work_of(stage.layers), work_of(own.stages[name].layers)
        assert dict(theirs.gmacs) == pytest.approx(dict(ours.gmacs))
        assert 0.9 < theirs.kernels / ours.kernels < 1.6
        assert 0.9 < theirs.traffic_mb / ours.traffic_mb < 1.6
