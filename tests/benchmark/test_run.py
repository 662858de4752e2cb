"""A run: exactly the objects that were asked for, and refused where it throttled, was unstable or answers wrongly."""

import time
from array import array
from dataclasses import replace

import numpy as np
import pytest

import nanoseg.benchmark.run as run
from nanoseg.backends.select import open_pipeline
from nanoseg.benchmark import board_estimate
from nanoseg.benchmark.board_estimate import board_key, estimated_stages
from nanoseg.benchmark.boards import BOARDS
from nanoseg.benchmark.environment import read_environment
from nanoseg.benchmark.latency import (
    MAX_FRAMES,
    MAX_OBJECTS,
    STAGES,
    Effort,
    FixedObjects,
    Series,
    fixed_boxes,
    measure_calls,
    measure_camera,
    measure_stream,
)
from nanoseg.benchmark.report import windows_of
from nanoseg.bundle import open_bundle
from nanoseg.errors import BundleError, EngineError, SourceError
from nanoseg.processing.boxes import SHARED_IOU, box_iou
from nanoseg.sources.simulator.line import SimulatedLine
from tests.benchmark.reports import series
from tests.fakes.segmenter import FakeSegmenter, nut_in_upper_left
from tests.fakes.sysfs import sysfs, write

ONE = run.BenchOptions(objects=(1,), effort=Effort(24, 0.0, 1))
CONTAINER = {"jetson": True, "power_mode": None}
COOLING = "sys/class/thermal/cooling_device1/cur_state"


@pytest.fixture(scope="module")
def segmenter():
    bundle = open_bundle("parts")
    with FixedObjects(bundle, open_pipeline(bundle, "onnxruntime")) as opened:
        yield opened


@pytest.mark.parametrize("count", [1, 16])
def test_objects_are_as_many_as_asked_for(segmenter, count):
    """Each its own prompt and mask; the detector ran, whatever it found."""
    frames = [SimulatedLine(seed=1).frame(index) for index in range(2)]
    segmenter.boxes = fixed_boxes(count, (640, 480))
    found = segmenter(frames[0])
    assert len(found) == len(np.unique(found.masks.same)) == count
    for measure in (measure_calls, measure_stream):
        measured = measure(segmenter, frames, Effort(3, 0.0, 1))
        assert measured.objects == [count] * 3
        assert all(len(spent) == 3 for spent in measured.spent_ms.values())
    segmenter.boxes = None


def test_stages_add_up_to_the_whole(segmenter):
    measured = measure_calls(segmenter, [SimulatedLine(seed=1).frame(0)], Effort(3, 0.0, 1))
    stages = np.sum([measured.spent_ms[stage] for stage in STAGES], axis=0)
    whole = np.asarray(measured.spent_ms["end_to_end"])
    assert (stages <= whole).all()
    assert (stages > 0.9 * whole).all()
    assert measured.seconds >= 1e-3 * whole.sum()


@pytest.mark.parametrize("count", [1, 5, MAX_OBJECTS])
def test_fixed_boxes_lie_in_the_frame_and_share_no_mask(count):
    boxes = fixed_boxes(count, (1280, 720))
    assert len(boxes.xyxy) == count
    assert boxes.xyxy.min() >= 0
    assert (boxes.xyxy[:, 2:] <= (1280, 720)).all()
    sides = boxes.xyxy[:, 2:] - boxes.xyxy[:, :2]
    np.testing.assert_allclose(sides.prod(1), 0.08 * 1280 * 720, rtol=1e-4)
    overlap = box_iou(boxes.xyxy, boxes.xyxy)
    np.fill_diagonal(overlap, 0)
    assert overlap.max() < SHARED_IOU


def test_effort_wants_frames_and_seconds():
    effort = Effort(100, 10.0, 0)
    assert not effort.enough(99, 20)
    assert not effort.enough(100, 9)
    assert effort.enough(100, 10)
    assert not Effort(24, 60.0, 0).enough(1200, 12)  # however few frames were asked for
    assert effort.enough(MAX_FRAMES, 9)  # a report holds all of them


def test_camera_latency_begins_with_the_capture():
    line = SimulatedLine(seed=1)
    captured_ns = time.time_ns() - 5_000_000_000
    frames = [replace(line.frame(index), captured_ns=captured_ns) for index in range(6)]
    measured = measure_camera(FakeSegmenter(nut_in_upper_left), frames, Effort(4, 0.0, 2))
    assert measured.objects == [1] * 4
    assert len(measured.spent_ms["age"]) == 4
    assert all(
        age >= 5000 > spent for age, spent in zip(*map(measured.spent_ms.get, ("age", "end_to_end")), strict=True)
    )
    with pytest.raises(SourceError, match="ended after 3 of 4 frames"):
        measure_camera(FakeSegmenter(nut_in_upper_left), frames[:5], Effort(4, 0.0, 2))


@pytest.mark.parametrize(
    ("drift", "stable"), [(0.0, True), (0.02, True), (1.0, False), (-0.5, False)], ids=["none", "2 %", "up", "down"]
)
def test_stable_is_within_ten_percent_in_the_last_windows(drift, stable):
    values = 20 * (1 + drift * np.linspace(0, 1, 1024))
    assert windows_of(values)[1] is stable
    assert windows_of(np.concatenate([3 * values[:512], np.full(1024, 20.0)]))[1]  # what was before does not count


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """A run whose latencies are synthetic, and on which `happen` may change files of the machine meanwhile."""
    machine = sysfs(tmp_path / "root", commands={"nvpmodel": "NV Power Mode: 15W\n0\n"})
    monkeypatch.setattr(run, "IDLE_S", 0)

    def measure(happen=lambda: None, shape=lambda values: values, options=ONE):
        def calls(*_):
            happen()
            made = series(np.random.default_rng(0))
            made.spent_ms = {name: array("f", shape(np.asarray(spent))) for name, spent in made.spent_ms.items()}
            return made

        monkeypatch.setattr(run, "measure_calls", calls)
        monkeypatch.setattr(run, "measure_stream", lambda *_: series(np.random.default_rng(1), "stream"))
        return run.run_bench(options, machine)

    return measure, machine


def test_run_is_valid_and_says_what_it_ran_on(measured):
    report = measured[0]()
    assert (report.valid, report.reasons) == (True, [])
    assert (report.answers.right, report.answers.unexpected) == (True, 0)
    assert [each.title for each in report.configurations] == ["640x480, 1 object, call", "640x480, 1 object, stream"]
    assert report.bundle["precision"]["detect"] == "int8"
    assert report.bundle["accuracy"]["deployed"]["miou"] > 0.8
    assert report.environment["power_mode"] == "15W"
    assert report.board["watts_of"] == "board, rail VDD_IN"
    first = report.configurations[0]
    assert report.board["idle_watts"] == pytest.approx(6.2)
    assert report.board["watts"][-1] == pytest.approx(6.2)
    assert first.frames_per_s == pytest.approx(1024 / first.seconds, rel=1e-3)


def test_run_that_throttled_is_not_valid(measured):
    measure, machine = measured
    report = measure(lambda: write(machine.root, COOLING, "1"))
    assert not report.valid
    assert report.reasons == ["throttled: cooling device cpu-throttle-alert (cooling_device1) was active"]


def test_run_that_was_unstable_is_not_valid(measured):
    report = measured[0](shape=lambda values: values * np.linspace(1, 3, len(values)))
    assert not report.valid
    assert len(report.reasons) == 1
    assert report.reasons[0].startswith("unstable: 640x480, 1 object, call: the medians of the last three windows")


def test_run_of_wrong_engines_measures_nothing(measured, monkeypatch):
    measure, _ = measured

    def wrong(bundle, *arguments, **named):
        pipeline = open_pipeline(bundle, *arguments, **named)
        right = pipeline.engines["embed"]

        class Wrong:
            close = right.close

            def __call__(self, feeds):
                return {name: 0 * value for name, value in right(feeds).items()}

        pipeline.engines["embed"] = Wrong()
        return pipeline

    monkeypatch.setattr(run, "open_pipeline", wrong)
    with pytest.raises(EngineError, match=r"wrong answers: \d of 14 objects of the reference frames found"):
        measure(happen=lambda: pytest.fail("measured all the same"))
    anyway = run.BenchOptions(objects=(1,), effort=ONE.effort, anyway=True)
    report = measure(options=anyway)
    assert not report.valid
    assert report.reasons[0].startswith("wrong answers: ")


def test_run_without_reference_frames_is_valid_and_says_so(measured, monkeypatch):
    bundle = open_bundle("parts")
    without = type(bundle)(**{**vars(bundle), "reference": None})
    monkeypatch.setattr(run, "open_bundle", lambda _: without)
    report = measured[0]()
    assert report.valid
    assert not report.answers.checked
    assert report.notes[0].startswith("answers not checked: the bundle has no reference frames")


@pytest.mark.parametrize(
    ("module", "is_super", "key"),
    [
        ("p3767-0005", False, "orin-nano"),
        ("p3767-0005", True, "orin-nano-super"),
        ("p3701-0005", False, "agx-orin"),
        ("p3701-0005", True, "agx-orin"),
        ("p3668-0000", False, None),  # Xavier NX
        (None, False, None),
    ],
)
def test_estimate_is_of_the_board(module, is_super, key):
    environment = {"module": module, "super": is_super}
    assert board_key(environment) == key
    stages = estimated_stages(open_bundle("parts"), environment, (1, 4))
    assert bool(stages) == (key is not None)
    if key:
        assert stages[4]["segment"] > stages[1]["segment"] > 0
        assert key in BOARDS


def test_jetson_in_a_container_is_not_taken_for_throttled(measured, monkeypatch):
    """Its power mode limits clocks, and cannot be read there."""
    measure, machine = measured
    monkeypatch.setattr(run, "read_environment", lambda _: {**read_environment(machine), **CONTAINER})
    report = measure()
    assert report.reasons == []
    assert "power mode not known: nvpmodel is not there, as in a container; it may limit clocks" in report.notes
    monkeypatch.setitem(CONTAINER, "jetson", False)
    assert measure().reasons == ["throttled: the clock limit of cpu0 is below what the hardware can"]


def test_graph_that_cannot_be_estimated_loses_nothing(monkeypatch):
    def fail(*_):
        raise BundleError("detect.onnx: an operator that nobody counts")

    monkeypatch.setattr(board_estimate, "estimate_bundle", fail)
    assert board_estimate.estimated_stages(open_bundle("parts"), {"module": "p3767-0005"}, (1,)) == {}


def test_source_without_a_frame_is_refused(measured, monkeypatch):
    monkeypatch.setattr(run, "open_source", lambda *_, **__: (each for each in ()))
    with pytest.raises(SourceError, match="the source ended before its first frame"):
        measured[0](options=replace(ONE, source="rtsp://nothing"))


def test_series_of_nothing_has_no_rate():
    assert Series("call").frames_per_s == 0
