"""Ranges against numpy on all values, ONNX Runtime's own calibrators and the definitions."""

import logging
import warnings
import weakref
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from nanoseg.errors import BundleError, UsageError
from nanoseg.onnx_graphs.int8.calibrate import METHODS, Calibrator
from nanoseg.onnx_graphs.int8.histogram import BINS, SAMPLES, Histogram
from nanoseg.onnx_graphs.int8.quantize import tensors_to_calibrate
from nanoseg.onnx_graphs.int8.ranges import LEVELS, entropy_range, percentile_range
from tests.helpers.onnx_run import run
from tests.helpers.tiny_residual import PX, pictures, residual_detector, with_outputs

READ = ["images", "r0", "sum", "pool"]


def calibrated(model: onnx.ModelProto, images: list[np.ndarray], method: str, percentile: float = 99.0) -> dict:
    calibrator = Calibrator(model, method, percentile)
    for image in images:
        calibrator.add(image)
    return calibrator.ranges()


@pytest.fixture(scope="module")
def values() -> dict[str, np.ndarray]:
    """|x| of all pictures by tensor, from a plain run."""
    wider = with_outputs(residual_detector(), READ[1:])
    runs = [run(wider, images=image) | {"images": image} for image in pictures(8)]
    return {name: np.abs(np.concatenate([each[name].ravel() for each in runs])) for name in READ}


def test_calibrate_tensors_are_convolution_inputs():
    assert tensors_to_calibrate(residual_detector()) == READ


def test_calibrate_minmax_equals_numpy(values):
    got = calibrated(residual_detector(), pictures(8), "minmax")
    assert list(got) == READ
    for name in READ:
        assert got[name] == pytest.approx(values[name].max(), rel=1e-6)


@pytest.mark.parametrize("percentile", [90.0, 99.0, 99.9])
def test_calibrate_percentile_equals_numpy(values, percentile):
    got = calibrated(residual_detector(), pictures(8), "percentile", percentile)
    for name in READ[1:]:
        bin_width = 1.01 * float(values[name].max()) / 2048
        below, above = (100 * np.mean(values[name] <= got[name] + sign * bin_width) for sign in (-1, 1))
        assert below <= percentile <= above
        assert got[name] < values[name].max()


@pytest.mark.parametrize("method", METHODS)
def test_calibrate_input_keeps_its_range(method, values):
    assert calibrated(residual_detector(), pictures(8), method, 50.0)["images"] == values["images"].max()


@pytest.mark.parametrize("method", METHODS)
def test_calibrate_is_independent_of_order(method):
    model, images = residual_detector(), pictures(6)
    assert calibrated(model, images, method) == calibrated(model, images[::-1], method)


@pytest.mark.parametrize("method", ["minmax", "percentile", "entropy"])
def test_calibrate_equals_onnx_runtimes(method, tmp_path: Path):
    """Its entropy has 128 levels for both signs together, and half as many bins: it may be another one by far less
    than its distance from the largest value."""
    model, images = residual_detector(), pictures(8)
    got, peak = (calibrated(model, images, each) for each in (method, "minmax"))
    onnx.save(model, tmp_path / "float.onnx")
    want = _by_onnx_runtime(tmp_path, images, method)
    limit = {"minmax": 1e-6, "percentile": 2 / 2048, "entropy": 0.15}[method]
    for name in READ[1:]:
        assert got[name] == pytest.approx(want[name], abs=limit * peak[name]), name


def _by_onnx_runtime(folder: Path, images: list[np.ndarray], method: str) -> dict[str, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            from onnxruntime.quantization.calibrate import CalibrationDataReader, CalibrationMethod, create_calibrator

            class Reader(CalibrationDataReader):
                def __init__(self):
                    self.feeds = iter([{"images": image} for image in images])

                def get_next(self):
                    return next(self.feeds, None)

            kinds = {
                "minmax": (CalibrationMethod.MinMax, {"symmetric": True}),
                "percentile": (CalibrationMethod.Percentile, {"num_bins": 2048, "percentile": 99, "symmetric": True}),
                "entropy": (CalibrationMethod.Entropy, {"num_bins": 512, "symmetric": True}),
            }
            kind, options = kinds[method]
            calibrator = create_calibrator(
                str(folder / "float.onnx"),
                ["Conv"],
                augmented_model_path=str(folder / "augmented.onnx"),
                calibrate_method=kind,
                extra_options=options,
            )
            calibrator.collect_data(Reader())
            data = calibrator.compute_data().data
        finally:
            logging.disable(logging.NOTSET)
    return {name: float(np.abs(data[name].range_value).max()) for name in READ}


def test_calibrate_does_not_keep_images():
    calibrator = Calibrator(residual_detector())
    picture = pictures(1)[0]
    gone = weakref.ref(picture)
    calibrator.add(picture)
    del picture
    assert gone() is None
    assert calibrator.origin == {"method": "percentile", "percentile": 99.99, "pictures": 1}
    assert Calibrator(residual_detector(), "minmax").origin == {"method": "minmax", "pictures": 0}


def test_calibrate_zero_tensors_have_range_0():
    black = [np.zeros((1, 3, PX, PX), np.float32)] * 2
    model = residual_detector(stem_bias=np.full(8, -1, np.float32))
    for method in METHODS:
        got = calibrated(model, black, method)
        assert got["images"] == got["r0"] == 0
        assert got["sum"] > 0


# Histograms.


def test_histogram_merges_bins():
    rng = np.random.default_rng(1)
    parts = [rng.normal(0, size, 5000).astype(np.float32) for size in (0.01, 3, 0.5, 900)]
    grown = Histogram()
    for part in (np.zeros(70, np.float32), *parts):
        grown.add(part)
    everything = np.abs(np.concatenate([np.zeros(70, np.float32), *parts]))
    assert grown.peak == everything.max()
    # In float64 and by numpy, with edges that are powers of two times whole numbers.
    want, _ = np.histogram(everything.astype(np.float64), BINS, (0, BINS * grown.width))
    np.testing.assert_array_equal(grown.counts, want)
    assert 2048 <= np.flatnonzero(want).max() + 1 <= BINS


def test_histogram_samples_every_column():
    for width in (640, 512, 333, 1):
        columns = np.arange(1, width + 1, dtype=np.float32)
        rows = 12 * SAMPLES // width
        tensor = np.tile(columns, (1, 1, rows, 1))
        tensor[0, 0, rows // 2, width // 3] = -5 * width
        histogram = Histogram()
        histogram.add(tensor)
        assert histogram.peak == 5 * width
        assert SAMPLES / 2 < histogram.counts.sum() <= 2 * SAMPLES
        for percent in (10, 50, 90):
            wide = 1.01 + histogram.width  # of a column's number, and of a bin
            assert percentile_range(histogram, percent) == pytest.approx(np.percentile(tensor, percent), abs=wide)


@pytest.mark.parametrize("size", [1e-44, 1e-30, 1e-10, 1.0, 65504.0, 3e38])
def test_ranges_at_any_magnitude(size):
    histogram = Histogram()
    histogram.add(np.linspace(0, size, 1000, dtype=np.float32))
    for find in (entropy_range, lambda h: percentile_range(h, 100)):
        assert 0 < find(histogram) <= np.float32(size)
    assert percentile_range(histogram, 100) == np.float32(size)


def test_ranges_of_rarely_active_tensors():
    rare = np.zeros(100_000, np.float32)
    rare[7] = 3
    histogram = Histogram()
    histogram.add(rare)
    assert percentile_range(histogram, 99.99) == 3


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_histogram_refuses_nan_and_infinity(value):
    with pytest.raises(ValueError, match="NaN or infinity"):
        Histogram().add(np.array([1, value, 2], np.float32))


def some_values() -> list[np.ndarray]:
    rng = np.random.default_rng(2)
    relu = np.maximum(rng.normal(0, 1, 40_000), 0)
    return [
        rng.normal(0, 2, 40_000),
        relu,
        rng.laplace(0, 1, 40_000),
        rng.uniform(-1, 1, 40_000),
        rng.gamma(0.3, size=40_000),
    ]


@pytest.mark.parametrize("case", range(5))
def test_ranges_entropy_equals_the_definition(case):
    """Bin by bin and range by range, as the slides have it."""
    values = some_values()[case].astype(np.float32)
    histogram = Histogram()
    histogram.add(values)
    # Fewer bins, for this loop's sake.
    histogram.counts = histogram.counts.reshape(512, 8).sum(1)
    histogram._exponent -= 3
    counts = histogram.counts[: np.flatnonzero(histogram.counts).max() + 1].astype(float)
    counts[0] = counts[1]
    best = (np.inf, 0)
    for kept in range(LEVELS, len(counts) + 1):
        p = counts[:kept].copy()
        p[-1] += counts[kept:].sum()
        q = np.zeros(kept)
        for level in range(LEVELS):
            bins = np.arange(level * kept // LEVELS, (level + 1) * kept // LEVELS)
            full = bins[counts[bins] > 0]
            q[full] = counts[bins].sum() / max(len(full), 1)
        p, q = p / p.sum(), q / q.sum()
        if not (q[p > 0] > 0).all():
            continue
        best = min(best, (float((p[p > 0] * np.log(p[p > 0] / q[p > 0])).sum()), kept))
    assert entropy_range(histogram) == pytest.approx(min(best[1] * histogram.width, histogram.peak))


# Errors.


def test_calibrate_refuses_options():
    with pytest.raises(UsageError, match="method: wanted percentile, minmax, entropy, got median"):
        Calibrator(residual_detector(), "median")
    for percentile in (0, -1, 100.1, float("nan")):
        with pytest.raises(UsageError, match="percentile: wanted more than 0 and up to 100"):
            Calibrator(residual_detector(), "percentile", percentile)


def with_two_inputs() -> onnx.ModelProto:
    model = residual_detector()
    model.graph.input.append(helper.make_tensor_value_info("more", onnx.TensorProto.FLOAT, (1,)))
    return model


def calibrate(model: onnx.ModelProto, image: np.ndarray | None) -> dict[str, float]:
    calibrator = Calibrator(model)
    if image is not None:
        calibrator.add(image)
    return calibrator.ranges()


IMAGE = (1, 3, PX, PX)


@pytest.mark.parametrize(
    ("model", "image", "error", "message"),
    [
        (residual_detector, np.zeros(IMAGE, np.uint8), UsageError,
         r"'images' wants float32 \(1, 3, 32, 32\), got uint8 \(1, 3, 32, 32\)"),
        (residual_detector, np.zeros((3, PX, PX), np.float32), UsageError, r"got float32 \(3, 32, 32\)"),
        (residual_detector, np.zeros((1, 3, PX, 8), np.float32), UsageError, r"got float32 \(1, 3, 32, 8\)"),
        (residual_detector, np.full(IMAGE, np.nan, np.float32), BundleError, "'images' holds NaN or infinity"),
        (lambda: residual_detector(one_weight=np.full((8, 8, 3, 3), 3e38, np.float32)), pictures(1)[0], BundleError,
         "'sum' holds NaN or infinity for image 1"),
        (lambda: residual_detector(one_weight=np.ones((8, 5, 3, 3), np.float32)), pictures(1)[0], BundleError,
         "tiny: ONNX Runtime"),
        (with_two_inputs, None, BundleError, "tiny: wanted one input, an image, got images, more"),
        (residual_detector, None, UsageError, "wanted images to calibrate with, got none"),
    ],
)  # fmt: skip
def test_calibrate_refuses(model, image, error, message):
    with pytest.raises(error, match=message):
        calibrate(model(), image)
