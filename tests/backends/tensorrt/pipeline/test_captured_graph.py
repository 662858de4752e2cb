"""The pipeline on a made-up GPU: what is captured and launched, and what is given anew each time."""

import re
from itertools import count

import pytest

from nanoseg.backends.cuda import open_gpu
from nanoseg.backends.tensorrt.pipeline.captured_graph import CapturedGraph
from nanoseg.errors import EngineError
from tests.backends.contract.conftest import same
from tests.backends.cuda.arrays import move
from tests.backends.tensorrt.pipeline.frames import DESKTOP, IMAGE, OTHER, PYCUDA
from tests.data.fill_weights import image_u8
from tests.fakes.cuda import FakeCuda


def test_captured_graph_frame_is_four_launches_and_four_copies(on):
    with on(DESKTOP) as run, run.load(max_objects=3) as segmenter:
        segmenter(IMAGE)
        run.cuda.calls.clear()
        run.trt.calls.clear()
        segmenter(IMAGE)
        calls = run.cuda.calls
        assert calls["cuGraphLaunch"] == 4  # prepare, detect, embed, segment
        # The frame, and the prompts; logits with IoUs; the embedding to where decoders read it. All else is in graphs.
        copies = [calls[f"cuMemcpy{way}Async"] for way in ("HtoD", "DtoH", "DtoD")]
        assert copies == [2, 1, 1]
        assert not run.trt.calls
        assert not {"cuMemAlloc", "cuMemHostAlloc", "cuStreamCreate", "cuEventCreate"} & calls.keys()


@pytest.mark.parametrize(
    ("function", "code", "reason"),
    [
        ("cuStreamBeginCapture", "NOT_SUPPORTED", "cuStreamBeginCapture: CUDA_ERROR_NOT_SUPPORTED"),
        ("cuStreamEndCapture", "STREAM_CAPTURE_INVALIDATED", "cuStreamEndCapture: CUDA_ERROR_STREAM_CAPTURE_INVALID"),
        ("cuGraphInstantiate", "NOT_SUPPORTED", "cuGraphInstantiate: CUDA_ERROR_NOT_SUPPORTED"),
        ("capture", "", "it cannot be run: .*STREAM_CAPTURE_UNSUPPORTED"),  # TensorRT itself
    ],
)
def test_captured_graph_enqueues_anew_what_cannot_be_captured(on, function, code, reason):
    with on(DESKTOP) as run:
        with run.load(confidence=0.2) as segmenter:
            wanted = [segmenter(image) for image in (IMAGE, OTHER)]
            assert segmenter.pipeline.not_captured == {}
        fails = run.trt.fails if function == "capture" else run.cuda.fails
        fails[function] = code
        with run.load(confidence=0.2) as segmenter:
            got = segmenter.pipeline.not_captured
            assert list(got) == ["detect", "embed", *(f"segment {size}" for size in range(1, 9))]
            run.cuda.calls.clear()
            same(segmenter(IMAGE), wanted[0])
            for (_, found), other in zip(segmenter.stream([OTHER, IMAGE]), wanted[::-1], strict=True):
                same(found, other)
            assert run.cuda.calls["cuGraphLaunch"] == 0
            assert list(got)[-1] == "prepare"
            for why in got.values():
                assert re.search(reason, why)
                assert "\n" not in why
            fails.clear()
            assert len(segmenter(image_u8(3, 130, 160))) > 3
            assert run.cuda.calls["cuGraphLaunch"] == 1  # prepare, of a new size


def test_captured_graph_is_refused_by_tensorrt_for_rtx(on):
    with on("tensorrt for rtx") as run:
        with run.load(confidence=0.2) as segmenter:
            wanted = segmenter(IMAGE)
        run.trt.fails["is_stream_capturable"] = ""
        with run.load(confidence=0.2) as segmenter:
            run.cuda.calls.clear()
            same(segmenter(IMAGE), wanted)
            assert not {"cuGraphLaunch", "cuStreamBeginCapture"} & run.cuda.calls.keys()
            got = segmenter.pipeline.not_captured
            assert list(got) == ["detect", "embed", *(f"segment {size}" for size in range(1, 9)), "prepare"]
            assert got["embed"] == "embed.engine: TensorRT reports that it cannot be captured"


@pytest.mark.parametrize("code", ["OUT_OF_MEMORY", "ILLEGAL_ADDRESS", "LAUNCH_FAILED"])
def test_captured_graph_raises_what_is_broken(on, monkeypatch, code):
    with on(DESKTOP) as run:
        run.cuda.fails["cuGraphInstantiate"] = code
        with pytest.raises(EngineError, match=code):
            run.load()
        if code != "OUT_OF_MEMORY":  # what lies in a context that is lost cannot be freed
            monkeypatch.setattr(run.cuda, "check", lambda: None)


@pytest.mark.parametrize(
    ("failing", "raised"), [((), None), ((1,), 1), ((2,), None), ((2, 3), None), ((2, 3, 4), 4), ((2, 4), 4)]
)
def test_captured_graph_raises_what_fails_outside_of_a_capture(monkeypatch, failing, raised):
    """The second run is the captured one, and the third may return its error."""
    fake, runs = FakeCuda().install(monkeypatch), count(1)
    with open_gpu() as gpu, gpu.stream() as stream, gpu.device_buffer(16) as block:

        def work(stream):
            number = next(runs)
            if number in failing:
                raise EngineError(f"run {number}")
            move(gpu, block, stream)

        if raised:
            with pytest.raises(EngineError, match=f"^run {raised}$"):
                CapturedGraph(gpu, stream, work)
        else:
            captured = CapturedGraph(gpu, stream, work)
            assert captured.refusal == ("run 2" if failing else "")
            captured.launch()
            stream.synchronize()
            assert fake.calls["cuGraphLaunch"] == (not failing)
            captured.close()
    fake.check()


def test_captured_graph_without_graph_support_enqueues_anew(on):
    with on(PYCUDA) as run, run.load() as segmenter:
        segmenter(IMAGE)
        assert set(segmenter.pipeline.not_captured) >= {"prepare", "detect", "embed", "segment 8"}
        assert set(segmenter.pipeline.not_captured.values()) == {"pycuda captures no graphs"}
