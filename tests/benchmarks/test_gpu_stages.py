"""benchmarks/gpu_stages.py on fake GPUs: each stage alone, and the timeline of a frame."""

import numpy as np
import pytest

from tests.backends.contract.backends import FAKES
from tests.data.fill_weights import image_u8

pytest.importorskip("onnxruntime", reason="needs nanoseg[cpu]")
import gpu_stages
from gpu_stages import Span, Timeline, summary

ORIN, DESKTOP, RTX, PYCUDA = FAKES
IMAGES = [image_u8(i, 120, 160) for i in range(2)]


@pytest.mark.parametrize(("name", "copied"), [(ORIN, []), (DESKTOP, ["copy"]), (PYCUDA, ["copy"])])
def test_stages_alone(on, name, copied):
    with on(name) as run, run.load(confidence=0.2) as segmenter:
        found = gpu_stages.stages(segmenter.pipeline, IMAGES[0], rounds=4)
        buckets = [f"segment {size}" for size in range(1, 9)]
        assert list(found) == [*copied, "prepare", "detect", "embed", "embedding", *buckets, "logits"]
        for name, spent in found.items():
            # A fake GPU's pieces of work take one millisecond each: to detect, thresholds come and rows go.
            wanted = 3 if name == "detect" else 1
            assert spent == {"p50": wanted, "p95": wanted, "p99": wanted}


@pytest.mark.parametrize(("name", "copies"), [(ORIN, 0), (DESKTOP, 1), (PYCUDA, 1)])
def test_timeline_of_a_frame(on, name, copies):
    with on(name) as run, run.load(max_objects=3) as segmenter:
        wanted = segmenter(IMAGES[0])
        with Timeline(segmenter.pipeline) as marks:
            np.testing.assert_array_equal(segmenter(IMAGES[0]).xyxy, wanted.xyxy)
            spans = marks.spans()
            names = [span.name for span in spans]
            assert sorted(names) == sorted(
                ["copy in"] * (copies + 1) + ["prepare", "detect", "embed", "copy across", "segment 3", "copy out"]
            )
            assert names.index("prepare") < names.index("detect") < names.index("segment 3")
            assert names[-1] == "copy out"
            assert spans[0].begin_ms == 0
            assert all(span.end_ms > span.begin_ms for span in spans)
            assert marks.spans() == []
            events = run.cuda.allocations["event"]
            segmenter(IMAGES[0])
            assert len(marks.spans()) == len(spans)
            assert run.cuda.allocations["event"] == events  # to make some takes time
        alive = dict(run.cuda.alive)
        segmenter(IMAGES[0])
        assert dict(run.cuda.alive) == alive
        assert "copy" not in vars(segmenter.pipeline._resources.gpu)


@pytest.mark.parametrize(
    ("spans", "wanted"),
    [
        ([], {}),
        ([("a", 0, 2)], {"whole_ms": 2, "busy_ms": 2, "gaps_ms": 0, "overlap_ms": 0, "copies_ms": 0}),
        # Side by side, one within the other, and a pause before a copy.
        (
            [("a", 0, 4), ("b", 1, 3), ("c", 2, 6), ("copy out", 9, 10)],
            {"whole_ms": 10, "busy_ms": 7, "gaps_ms": 3, "overlap_ms": 4, "copies_ms": 1},
        ),
    ],
)
def test_summary_gaps_and_overlap(spans, wanted):
    assert summary([Span(*each) for each in spans]) == wanted
