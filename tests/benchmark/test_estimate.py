"""Estimates of the embedded bundle's frames, and of work by hand."""

from dataclasses import replace

import onnx
import pytest
from onnx import TensorProto, helper

from nanoseg.benchmark import estimate as module
from nanoseg.benchmark.boards import BOARDS
from nanoseg.benchmark.estimate import BundleWork, StageWork, bundle_work, estimate_bundle, estimate_work
from nanoseg.benchmark.families import Family, Fit, band_of, read_fit
from nanoseg.benchmark.layer import Layer
from nanoseg.benchmark.layer_time import Constants
from nanoseg.benchmark.roofline import STAGES
from nanoseg.benchmark.shapes import FRAME_HW, box_shapes, decoder_calls
from nanoseg.bundle import EMBEDDED_BUNDLE, open_bundle
from nanoseg.errors import UsageError
from nanoseg.processing.geometry import Geometry

ARCHITECTURES = {"prepare": "prepare", "detect": "yolo_nas_s", "embed": "nanosam_resnet18"}


def a_fit(error=0.1, constants=Constants(1.0, 1.0, 1.0, 0.0)):  # noqa: B008
    names = ("yolo11", "yolo26", "yolo-nas", "yolo-nas-pose", "nanosam", "mobilesam")
    return Fit(constants, {name: Family(3, error, 2 * error) for name in names}, error, ["orin-nano"])


def a_work(megabytes, copy_mb=0.0, kernels=1):
    """Return work that moves so many MB in each stage; on an Orin Nano 68 of them take a millisecond."""
    stages = {
        name: StageWork(
            name,
            ARCHITECTURES.get(name, "sam_mask_decoder"),
            [Layer("Conv", "", 0, True, int(mb * 1e6 / kernels), 0, 0)] * kernels,
        )
        for name, mb in zip(STAGES, megabytes, strict=True)
    }
    copy = Layer("copy", "", 0, True, int(copy_mb * 1e6), 0, 0)
    return BundleWork(1, stages, dict.fromkeys(("upload", "handover", "download"), copy))


@pytest.fixture(scope="module")
def parts():
    return open_bundle(EMBEDDED_BUNDLE)


def test_a_frame_shares_what_it_needs_of_memory(monkeypatch):
    monkeypatch.setattr(module, "read_fit", a_fit)
    found = estimate_work(a_work((68, 136, 204, 340), copy_mb=6.8), "orin-nano")
    assert found.stage_ms() == pytest.approx({"prepare": 1, "detect": 2, "embed": 3, "segment": 5})
    assert found.call_ms == pytest.approx(1 + 5 + 5 + 0.3)
    assert found.stream_ms == pytest.approx(11.3)
    assert (found.error, found.is_checked) == (pytest.approx(0.1), True)
    assert not estimate_work(a_work((68, 136, 204, 340)), "thor").is_checked


def test_side_by_side_hides_launches(monkeypatch):
    """Of ten kernels of 1 ms of overhead each, side by side with ten such, the whole is that of one list."""
    monkeypatch.setattr(module, "read_fit", lambda: a_fit(constants=Constants(1.0, 1.0, 1.0, 625.0)))
    found = estimate_work(a_work((0, 68, 68, 0), kernels=10), "orin-nano")
    assert found.stages["detect"].ms == pytest.approx(11)
    assert found.stages["detect"].binds == "launches"
    assert found.call_ms == pytest.approx(10 + 11 + 10 + 3)  # prepare, both, segment, copies
    assert found.stream_ms == pytest.approx(1 + 10 + 11)


def test_families_that_are_too_wrong_are_not_told(monkeypatch):
    fit = a_fit()
    fit.families["nanosam"] = Family(3, 0.36, 0.5)
    monkeypatch.setattr(module, "read_fit", lambda: fit)
    found = estimate_work(a_work((68, 68, 68, 68)), "orin-nano")
    assert {name: ms is None for name, ms in found.stage_ms().items()} == {
        "prepare": False,
        "detect": False,
        "embed": True,
        "segment": True,  # its time is within that of NanoSAM's whole pipeline
    }
    assert (found.call_ms, found.stream_ms) == (None, None)


@pytest.mark.parametrize(
    ("architecture", "family"),
    [
        ("yolo_nas_s", "yolo-nas and yolo-nas-pose"),
        ("yolo_nas_pose_l", "yolo-nas-pose"),
        ("yolov8n", "yolo11 and yolo26"),
        ("nanosam_slim", "nanosam"),
        ("mobile_sam_tiny_vit", "mobilesam"),
        ("sam_mask_decoder", "nanosam and mobilesam"),
        ("my_network", "other"),
    ],
)
def test_band_of_a_network(architecture, family):
    fit = read_fit()
    band = band_of(architecture, fit)
    assert band.family == family
    named = [fit.families[name] for name in fit.families if name in family.split(" and ")]
    assert band.error == (max(each.mean_error for each in named) if named else fit.mean_error)
    assert band.error <= band.worst


def test_the_embedded_bundle(parts):
    works = {objects: bundle_work(parts, objects) for objects in (0, 1, 8)}
    frames = {objects: estimate_work(work, "orin-nano-super") for objects, work in works.items()}
    assert frames[0].stage_ms()["segment"] == 0
    assert frames[0].call_ms < frames[1].call_ms < frames[8].call_ms
    for frame in frames.values():
        assert list(frame.stages) == list(STAGES)
        assert max(frame.stage_ms().values()) <= frame.stream_ms <= frame.call_ms
    boards = [estimate_work(works[8], name).call_ms for name in ("orin-nano", "orin-nano-super", "agx-orin", "thor")]
    assert boards == sorted(boards, reverse=True)
    assert all(estimate_work(works[1], name).call_ms > 0 for name in BOARDS)


def test_decoder_calls_are_filled_up(parts):
    def boxes(objects):
        return [(name, shapes["boxes"]) for name, shapes in decoder_calls(parts, objects)]

    assert boxes(0) == []
    assert boxes(7) == [("segment_boxes", (7, 4))]
    # Engines of the recipes take eight in a call.
    assert boxes(9) == [("segment_boxes", (8, 4)), ("segment_boxes", (1, 4))]
    assert boxes(19) == [("segment_boxes", (8, 4)), ("segment_boxes", (8, 4)), ("segment_boxes", (3, 4))]


@pytest.mark.parametrize(("fixed", "calls"), [(None, [8, 1]), (1, [1] * 9), (4, [4, 4, 4])])
def test_decoder_calls_without_segment_boxes(parts, tmp_path, fixed, calls):
    """A decoder made elsewhere takes as many prompts a call as its file says, mostly one."""
    dims = [fixed, None, 2]
    points = helper.make_tensor_value_info("point_coords", TensorProto.FLOAT, dims)
    copy = helper.make_tensor_value_info("copy", TensorProto.FLOAT, dims)
    graph = helper.make_graph([helper.make_node("Identity", ["point_coords"], ["copy"])], "g", [points], [copy])
    onnx.save(helper.make_model(graph), tmp_path / "segment.onnx")
    segment = replace(parts.graphs["segment"], path=tmp_path / "segment.onnx")
    found = decoder_calls(replace(parts, graphs={"segment": segment}), 9)
    assert found == [("segment", {"point_coords": (count, 2, 2), "point_labels": (count, 2)}) for count in calls]


def test_box_shapes_of_more_tiles_than_graphs_have():
    """At 2048 px a box of 8 % has over 24 tiles: it runs without a CUDA graph."""
    (count,) = box_shapes(8, Geometry.of(FRAME_HW, 640, 640, 2048))["tile_prompts"]
    assert count > 8 * 24


def test_each_shape_of_a_decoder_is_read_once(parts, monkeypatch):
    from nanoseg.onnx_graphs.cost import layers

    read, original = [], layers.read_graph
    monkeypatch.setattr(layers, "read_graph", lambda graph, shapes: read.append(graph) or original(graph, shapes))
    work = bundle_work(parts, 24)
    assert len(read) == 4
    assert len(work.stages["segment"].layers) == 3 * len(bundle_work(parts, 8).stages["segment"].layers)


def test_bad_input_is_one_line(parts):
    with pytest.raises(UsageError, match=r"^device: wanted orin-nano, .*, got xavier$"):
        estimate_bundle(parts, "xavier", 1)
    with pytest.raises(UsageError, match=r"^objects: wanted 0 or more, got -1$"):
        estimate_bundle(parts, "orin-nano", -1)
