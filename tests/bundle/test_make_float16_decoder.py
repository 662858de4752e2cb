"""A bundle of a float16 decoder: two graphs of one set of weights, on a CPU in float32 or rounded as stored."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from nanoseg.backends.select import open_engines
from nanoseg.bundle import Bundle, open_bundle
from nanoseg.onnx_graphs.fp16.to_fp16 import to_fp16
from tests.bundle.folders import make
from tests.onnx_graphs.deploy.test_segment_boxes import feeds_of, token_decoder


@pytest.fixture
def bundles(inputs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Bundle, Bundle]:
    """One with the decoder in float32, one with it in float16."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    single, half = token_decoder(tmp_path / "single.onnx", unit=5e-3), tmp_path / "half.onnx"
    onnx.save(to_fp16(onnx.load(single)), half)
    made = []
    for path in (single, half):
        others = [str(path) if each.endswith("decoder.onnx") else each for each in inputs]
        assert make([*others, "--out", str(tmp_path / path.stem / "nuts")]) == 0
        made.append(open_bundle(tmp_path / path.stem / "nuts"))
    return made[0], made[1]


def test_make_bundle_of_a_float16_decoder(bundles: tuple[Bundle, Bundle]) -> None:
    single, half = bundles
    for name in ("segment", "segment_boxes"):
        assert (single.graphs[name].precision, half.graphs[name].precision) == ("fp32", "fp16")
    boxes = onnx.load(half.graphs["segment_boxes"].path, load_external_data=False)
    stored = {each.name for each in boxes.graph.initializer if each.data_location == onnx.TensorProto.EXTERNAL}
    assert {"first_up", "to_rows"} <= stored  # in segment.onnx, as float16
    assert half.graphs["segment"].path.stat().st_size < 0.6 * single.graphs["segment"].path.stat().st_size


@pytest.mark.parametrize("rounded", [False, True])
def test_float16_decoder_runs_on_a_cpu(rounded: bool, bundles: tuple[Bundle, Bundle]) -> None:
    wanted, got = ([], [])
    for bundle, results in zip(bundles, (wanted, got), strict=True):
        engines = open_engines(bundle, "onnxruntime", rounded=rounded)
        feeds = feeds_of(onnx.load(bundle.graphs["segment_boxes"].path), 3)
        results.append(engines["segment_boxes"](feeds))
        points = feeds["boxes"].reshape(3, 2, 2), np.tile(np.array([2, 3], np.float32), (3, 1))
        same = {name: feeds[name] for name in ("image_embeddings", "geometry")}
        results.append(engines["segment"]({**same, "point_coords": points[0], "point_labels": points[1]}))
        for engine in engines.values():
            engine.close()
    rounding = 0.0
    for one, other in zip(wanted, got, strict=True):
        for name, value in one.items():
            assert other[name].dtype == np.float32
            np.testing.assert_allclose(other[name], value, rtol=0, atol=2e-2 * np.abs(value).max())
            rounding = max(rounding, float(np.abs(other[name] - other[name].astype(np.float16)).max()))
    assert (rounding == 0) is rounded  # outputs are float16 numbers only where each is rounded
