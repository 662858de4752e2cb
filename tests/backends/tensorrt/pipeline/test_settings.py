"""What the environment says about the pipeline on a GPU, on a made-up one."""

import pytest

from nanoseg.backends.tensorrt.pipeline.settings import Settings
from nanoseg.errors import UsageError
from tests.backends.contract.conftest import same
from tests.backends.tensorrt.pipeline.frames import DESKTOP, IMAGE, PYCUDA


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, Settings(graphs=True, wait="auto")),
        ({"NANOSEG_CUDA_GRAPHS": "", "NANOSEG_CUDA_WAIT": ""}, Settings(graphs=True, wait="auto")),
        ({"NANOSEG_CUDA_GRAPHS": "off", "NANOSEG_CUDA_WAIT": "block"}, Settings(graphs=False, wait="block")),
        ({"NANOSEG_CUDA_GRAPHS": "on", "NANOSEG_CUDA_WAIT": "spin"}, Settings(graphs=True, wait="spin")),
    ],
)
def test_settings_from_the_environment(environment, wanted):
    assert Settings.of(environment) == wanted


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("NANOSEG_CUDA_GRAPHS", "0", "on or off, got 0"),
        ("NANOSEG_CUDA_WAIT", "yield", "auto, spin or block, got yield"),
    ],
)
def test_settings_that_there_are_not(on, monkeypatch, name, value, wanted):
    monkeypatch.setenv(name, value)
    with on(DESKTOP) as run, pytest.raises(UsageError, match=f"^{name}: wanted {wanted}$"):
        run.load()


@pytest.mark.parametrize("wait", ["spin", "block"])
def test_pipeline_without_graphs(on, monkeypatch, wait):
    with on(DESKTOP) as run, run.load(confidence=0.2) as segmenter:
        wanted = segmenter(IMAGE)
    monkeypatch.setenv("NANOSEG_CUDA_GRAPHS", "off")
    monkeypatch.setenv("NANOSEG_CUDA_WAIT", wait)
    for name in (DESKTOP, PYCUDA):
        with on(name) as run, run.load(confidence=0.2) as segmenter:
            run.cuda.calls.clear()
            same(segmenter(IMAGE), wanted)
            assert not {"cuStreamBeginCapture", "cuGraphLaunch"} & run.cuda.calls.keys()
            if name == DESKTOP:
                assert set(segmenter.pipeline.not_captured.values()) == {"NANOSEG_CUDA_GRAPHS is off"}
