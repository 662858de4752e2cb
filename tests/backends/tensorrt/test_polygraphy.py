"""polygraphy's comparison of the reduced files with the float32 ones, and of engines with ONNX Runtime."""

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nanoseg
from nanoseg.backends import probe
from nanoseg.backends.tensorrt.build.engine import build_engine
from nanoseg.bundle import open_bundle
from nanoseg.engines.recipe import read_recipe
from nanoseg.sources.simulator.line import TEST_SEED, SimulatedLine
from tests.helpers.full_size import DETECTOR_PX, ENCODER_PX, FullSize, picture

onnxruntime = pytest.importorskip("onnxruntime")
from nanoseg.backends.onnxruntime.engine import OrtEngine  # noqa: E402

pytest.importorskip("polygraphy", reason="polygraphy is not installed")
LIBRARY = "tensorrt" if find_spec("tensorrt") else "tensorrt_rtx"
with pytest.MonkeyPatch.context() as patch:
    # polygraphy reads it when it is imported.
    patch.setenv("POLYGRAPHY_USE_TENSORRT_RTX", str(int(LIBRARY == "tensorrt_rtx")))
    from polygraphy.backend.onnxrt import OnnxrtRunner
    from polygraphy.backend.trt import EngineFromBytes, TrtRunner
    from polygraphy.comparator import Comparator, SnrCompareFunc
    from polygraphy.logger import G_LOGGER

Feed = Mapping[str, np.ndarray]
PARTS = Path(nanoseg.__file__).parent / "bundles" / "parts"


def as_stored(path: Path) -> OnnxrtRunner:
    """The file as it stands: ONNX Runtime would fuse Q/DQ into integer kernels that saturate on some CPUs."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    return OnnxrtRunner(
        lambda: onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]), path.name
    )


def compared(wanted: Any, got: Any, feeds: Sequence[Feed]) -> Callable[[Mapping[str, float]], bool]:
    """Run both; what comes back says whether outputs differ by no more noise than so many decibels below the signal.

    Outputs outside of `names` are left out.
    """
    with G_LOGGER.verbosity(G_LOGGER.ERROR):
        results = Comparator.run([wanted, got], data_loader=feeds)

    def agree(least_db: Mapping[str, float]) -> bool:
        def found(name: str, index: int, outputs: Any) -> list[str]:
            return [name] if name in least_db else []

        assert set(least_db) <= set(results[0][1][0])
        compare = SnrCompareFunc(snr_threshold=dict(least_db), find_output_func=found)
        with G_LOGGER.verbosity(G_LOGGER.ERROR):
            return bool(Comparator.compare_accuracy(results, compare_func=compare))

    return agree


# Decibels below the signal. Scores are about 0.5 and differ from each other by a tenth of that, so 40 is a twelfth of
# what they tell; boxes are in hundreds of pixels. What is that much nearer is no reduced file.
DETECTORS = {
    "int8": {"boxes": 63, "scores": 40},
    "int8+fp16": {"boxes": 63, "scores": 40},
    "fp16": {"boxes": 98, "scores": 77},
}
NEARER_DB = 15


@pytest.mark.parametrize("precision", DETECTORS)
def test_detectors(precision: str, full_size_networks: FullSize) -> None:
    wanted, got = (as_stored(full_size_networks.detector("s", each)) for each in ("fp32", precision))
    agree = compared(wanted, got, [{"images": picture(seed, DETECTOR_PX)} for seed in (5, 6)])
    assert agree(DETECTORS[precision])
    for output, decibels in DETECTORS[precision].items():
        assert not agree({output: decibels + NEARER_DB})


def test_the_encoder(full_size_networks: FullSize) -> None:
    wanted, got = (as_stored(full_size_networks.encoder(each)) for each in ("fp32", "fp16"))
    agree = compared(wanted, got, [{"image": 4 * picture(5, ENCODER_PX) - 2}])
    assert agree({"image_embeddings": 60})
    assert not agree({"image_embeddings": 60 + NEARER_DB})


@pytest.fixture(scope="module")
def feeds() -> dict[str, Feed]:
    """What the embedded bundle's graphs are given, one after the other, for a frame of the simulated line."""
    graphs = open_bundle(PARTS).graphs
    prepare, embed = (OrtEngine(graphs[name].path, as_stored=True) for name in ("prepare", "embed"))
    frame = {"frame": SimulatedLine(seed=TEST_SEED).frame(0).image[None]}
    prepared = prepare(frame)
    geometry = {"geometry": prepared["geometry"]}
    boxes = np.array([[[80, 90], [200, 210]], [[300, 100], [420, 250]]], np.float32)
    prompts = {"point_coords": boxes, "point_labels": np.array([[2, 3], [2, 3]], np.float32)}
    thresholds = {"confidence": np.array(0.25, np.float32), "iou": np.array(0.7, np.float32)}
    return {
        "prepare": frame,
        "detect": {"images": prepared["images"], **geometry, **thresholds},
        "embed": {"image": prepared["image"]},
        "segment": {**embed({"image": prepared["image"]}), **geometry, **prompts},
    }


# RawDetections of close scores may change places, so of what was detected the scores alone are compared.
ENGINES = {
    "prepare": {"images": 50, "image": 50, "geometry": 100},
    "detect": {"scores": 20},
    "embed": {"image_embeddings": 40},
    "segment": {"low_res_masks": 30, "iou_predictions": 30},
}


@pytest.mark.gpu
@pytest.mark.parametrize("name", ENGINES)
def test_engines(name: str, feeds: Mapping[str, Feed]) -> None:
    api = pytest.importorskip(LIBRARY, reason="TensorRT is not installed")
    if why := probe.cuda()["error"]:
        pytest.skip(f"no GPU: {why}")
    path = open_bundle(PARTS).graphs[name].path
    plan = build_engine(api, path, read_recipe(name)).plan
    engine = TrtRunner(EngineFromBytes(plan), f"{name}.engine")
    assert compared(as_stored(path), engine, [feeds[name]])(ENGINES[name])
