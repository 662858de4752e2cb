"""The pipeline on a made-up GPU: what waits for what, and what nobody may have computed."""

import numpy as np
import pytest

from nanoseg.errors import EngineError
from tests.backends.contract.backends import backend
from tests.backends.contract.conftest import same
from tests.backends.tensorrt.pipeline.frames import DESKTOP, IMAGE, OTHER, PYCUDA
from tests.fakes.tensorrt_plan import Plan


@pytest.mark.parametrize("name", [DESKTOP, PYCUDA])
@pytest.mark.parametrize("which", ["tiny", "of_sam"])
def test_pipeline_reads_no_uninitialized_memory(request, engines, monkeypatch, which, name):
    """New memory of a made-up GPU is full of NaN, which an NMS or an index would be made of."""
    run_plan = Plan.run

    def checked(plan, feeds):
        assert not [each for each, values in feeds.items() if values.dtype.kind == "f" and np.isnan(values).any()]
        return run_plan(plan, feeds)

    monkeypatch.setattr(Plan, "run", checked)
    with (
        backend(name, request.getfixturevalue(which), engines / which, monkeypatch) as run,
        run.load(confidence=0.2) as segmenter,
    ):
        assert len(list(segmenter.stream([IMAGE, OTHER, IMAGE]))) == 3
        embedding = segmenter.embed(IMAGE)
        prompts = {"boxes": [[1, 2, 30, 40], None], "points": [None, [[5, 6]]], "labels": [None, [1]]}
        if which == "of_sam":
            prompts["mask_input"] = [None, np.zeros((16, 16), np.float32)]
        assert len(segmenter.segment(embedding, **prompts)) == 2


def test_pipeline_returns_detections_before_the_encoder_is_done(on):
    """What the host waits for first is the detector's."""
    with on(DESKTOP) as run, run.load() as segmenter:
        segmenter(IMAGE)
        pipeline = segmenter.pipeline
        started = pipeline.start(IMAGE, 0.2, 0.7)
        embedded = pipeline.embedding(started)
        assert pipeline.detections(started)["count"] > 3
        assert not embedded.ready.query()
        embedded.ready.synchronize()
        assert embedded.ready.query()


def test_pipeline_starts_the_next_frame_before_masks_are_waited_for(on, monkeypatch):
    with on(DESKTOP) as run, run.load(confidence=0.2) as segmenter:
        list(segmenter.stream([IMAGE] * 3))
        got = []
        for name in ("start", "detections", "masks"):
            function = getattr(segmenter.pipeline, name)
            monkeypatch.setattr(
                segmenter.pipeline, name, lambda *a, _name=name, _f=function, **k: (got.append(_name), _f(*a, **k))[1]
            )
        list(segmenter.stream([IMAGE, OTHER, IMAGE]))
        pair = ["detections", "masks"]
        assert got == ["start", "start", *pair, "start", *pair, *pair]


def test_pipeline_stream_reuses_pinned_memory(on, monkeypatch):
    with on(DESKTOP) as run, run.load(max_objects=5) as segmenter:
        places, box_masks = set(), segmenter.pipeline.box_masks

        def watched(*arguments, **more):
            output = box_masks(*arguments, **more)
            places.add(output[0].ctypes.data)
            return output

        monkeypatch.setattr(segmenter.pipeline, "box_masks", watched)
        assert len(list(segmenter.stream([IMAGE] * 4))) == 4
        assert len(places) == 1
        assert run.cuda.memory.whose(places.pop()).kind == "pinned"


def test_pipeline_nms_is_finished_by_the_host(on, monkeypatch):
    with on(DESKTOP) as run, run.load(confidence=0.2) as segmenter:
        wanted, detections = segmenter(IMAGE), segmenter.pipeline.detections
        unconverged = {"count": np.int32(1), "unconverged": np.int32(3)}
        monkeypatch.setattr(segmenter.pipeline, "detections", lambda frame: {**detections(frame), **unconverged})
        same(segmenter(IMAGE), wanted)
        assert segmenter.unconverged_frames == 1


def test_pipeline_reports_and_closes_a_broken_gpu(on, monkeypatch):
    with on(DESKTOP) as run:
        segmenter = run.load()
        segmenter(IMAGE)
        run.trt.fails["run"] = "illegal address"
        with pytest.raises(EngineError, match="LAUNCH_FAILED"):
            segmenter(IMAGE)
        with pytest.raises(EngineError):
            segmenter.close()
        assert "primary" not in run.cuda.alive
        monkeypatch.setattr(run.cuda, "check", lambda: None)  # what lies in a context that is lost cannot be freed
