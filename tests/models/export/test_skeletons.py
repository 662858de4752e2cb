"""The skeletons that the package ships are what the exporter makes today; filled, they are its files."""

import json

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from nanoseg.models.export.skeletons import NETWORKS, export, make_skeleton
from nanoseg.onnx_graphs.skeletons.fill import fill_skeleton, read_skeleton
from tests.data.fill_weights import fill

MANIFESTS = {name: name if name.startswith("yolo") else "mobile_sam_vit_t" for name in NETWORKS}
HINT = "an exporter changed: run `make skeletons`"


@pytest.mark.slow
def test_skeleton_is_written_as_it_was():
    assert make_skeleton("sam_mask_decoder") == read_skeleton("sam_mask_decoder"), HINT


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_filled_skeleton_equals_the_exporters_file(name, data, tmp_path):
    weights = fill(json.loads((data / f"manifest_{MANIFESTS[name]}.json").read_text(encoding="utf-8")))
    exported = export(name, weights, tmp_path / "exported.onnx")
    filled = onnx.load(fill_skeleton(name, weights, tmp_path / "filled.onnx", origin="weights.pt"))
    assert list(filled.graph.node) == list(exported.graph.node), HINT
    assert list(filled.graph.input) == list(exported.graph.input)
    assert list(filled.graph.output) == list(exported.graph.output)
    got, wanted = (
        {constant.name: numpy_helper.to_array(constant) for constant in model.graph.initializer}
        for model in (filled, exported)
    )
    assert list(got) == list(wanted)
    for key, value in wanted.items():
        np.testing.assert_allclose(got[key], value, rtol=1e-6, atol=1e-6 * np.abs(value).max(initial=0), err_msg=key)
