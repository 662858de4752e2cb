"""Peaks of activations against numpy's, and networks that would overflow in float16."""

from collections.abc import Iterator

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from nanoseg.errors import BundleError, SourceError
from nanoseg.onnx_graphs.fp16.emulate import emulate_fp16
from nanoseg.onnx_graphs.fp16.keep_fp32 import LARGEST
from nanoseg.onnx_graphs.fp16.overflow import MARGIN, measure_peaks, overflow_nodes
from nanoseg.onnx_graphs.fp16.to_fp16 import to_fp16
from tests.helpers.onnx_run import run
from tests.helpers.small_graphs import SHAPE, network, node, some, weights

# A network whose middle is `size` times as large as what it takes and gives.
MIDDLE = [
    node("Conv", "x w", "a"), node("Mul", "a up", "b"), node("Relu", "b", "c"), node("Mul", "c down", "d"),
    node("Sigmoid", "d", "y"),
]  # fmt: skip


def swollen(size: float) -> onnx.ModelProto:
    return network(MIDDLE, w=weights(4, 4, 1, 1), up=size, down=1 / size)


def test_overflow_peaks_are_over_all_images() -> None:
    """The oracle gives every tensor away and lets numpy look."""
    model = network(
        [*MIDDLE, node("Split", "a", "e f", axis=1, num_outputs=2), node("Shape", "a", "g")],
        outputs="y e f", w=weights(4, 4, 1, 1), up=50.0, down=0.02,
    )  # fmt: skip
    feeds = [{"x": some(seed, size)} for seed, size in ((1, 1.0), (2, 9.0), (3, 3.0))]
    everything = onnx.ModelProto()
    everything.CopyFrom(model)
    everything.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "abcd")
    seen = [run(everything, **feed) for feed in feeds]
    want = {name: max(float(np.abs(each[name]).max()) for each in seen) for name in "abcdyef"}
    found = measure_peaks(model, (feed for feed in feeds))
    assert {peak.layer: peak.op for peak in found} == {
        "a": "Conv", "b": "Mul", "c": "Relu", "d": "Mul", "y": "Sigmoid", "e": "Split",
    }  # fmt: skip
    for peak in found:
        largest = max(want["e"], want["f"]) if peak.layer == "e" else want[peak.layer]
        assert peak.peak == pytest.approx(largest, rel=1e-5)
        assert peak.headroom == pytest.approx(LARGEST / largest, rel=1e-5)
    assert [peak.headroom for peak in found] == sorted(peak.headroom for peak in found)
    assert run(model, **feeds[0]).keys() == {"y", "e", "f"}  # the model itself is as it was


def test_overflow_reads_one_image_at_a_time() -> None:
    buffer = np.zeros(SHAPE, np.float32)

    def pictures() -> Iterator[dict[str, np.ndarray]]:
        for seed in range(3):
            buffer[:] = some(seed)
            yield {"x": buffer}

    model = swollen(1.0)
    assert measure_peaks(model, pictures()) == measure_peaks(model, [{"x": some(seed)} for seed in range(3)])


@pytest.mark.parametrize(
    ("size", "kept"),
    [(1.0, set()), (LARGEST / MARGIN / 1.1, set()), (LARGEST / MARGIN * 1.1, {"b", "c", "d"}), (1e6, {"b", "c", "d"})],
)
def test_overflow_keeps_layers_and_their_readers(size: float, kept: set[str]) -> None:
    model = network(MIDDLE, w=np.abs(weights(4, 4, 1, 1)), up=size, down=1 / size)
    x = np.abs(some())
    largest = next(peak.peak for peak in measure_peaks(model, [{"x": x}]) if peak.layer == "a")
    feeds = {"x": x / np.float32(largest)}
    found = overflow_nodes(model, measure_peaks(model, [feeds]))
    assert found == kept
    np.testing.assert_allclose(
        run(emulate_fp16(to_fp16(model, found)), **feeds)["y"], run(model, **feeds)["y"], atol=2e-3
    )


def test_overflow_without_kept_layers_is_infinite() -> None:
    """The law above could not fail if float16 held such numbers."""
    model = network(
        [node("Conv", "x w", "a"), node("Conv", "a w", "b"), node("Mul", "b s", "y")],
        w=(np.eye(4)[:, :, None, None] * 300).astype(np.float32), s=1 / 300.0,
    )  # fmt: skip
    x = np.ones(SHAPE, np.float32)
    assert not np.isfinite(run(emulate_fp16(to_fp16(model)), x=x)["y"]).any()
    kept = overflow_nodes(model, measure_peaks(model, [{"x": x}]))
    assert kept == {"b", "y"}
    np.testing.assert_allclose(run(emulate_fp16(to_fp16(model, kept)), x=x)["y"], run(model, x=x)["y"], rtol=2e-3)


def test_overflow_infinite_peak_has_no_headroom() -> None:
    found = measure_peaks(
        network([node("Log", "x", "l"), node("Relu", "x", "y")], outputs="l y"), [{"x": -(some() ** 2)}]
    )
    assert [(peak.layer, peak.peak, peak.headroom) for peak in found] == [("l", np.inf, 0), ("y", 0, np.inf)]


def test_overflow_refuses_what_cannot_be_measured() -> None:
    model = swollen(1.0)
    with pytest.raises(SourceError, match="tiny: wanted at least one image"):
        measure_peaks(model, iter(()))
    with pytest.raises(BundleError, match="tiny: ONNX Runtime") as caught:
        measure_peaks(model, [{"x": np.zeros((1, 3, 8, 8), np.float32)}])
    assert "\n" not in str(caught.value)

    def unreadable() -> Iterator[dict[str, np.ndarray]]:
        raise SourceError("a.png: no picture")
        yield {}

    with pytest.raises(SourceError, match=r"a\.png"):
        measure_peaks(model, unreadable())
