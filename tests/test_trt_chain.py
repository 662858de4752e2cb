"""The chain on a made-up GPU: what is launched when, what lies where, and which backend is taken."""

import gc
import re
from collections import Counter
from dataclasses import replace
from itertools import count

import numpy as np
import pytest

import nanoseg
from nanoseg.backends import open_chain
from nanoseg.backends.cuda import open_gpu
from nanoseg.backends.trt_chain.captures import Captured
from nanoseg.backends.trt_chain.host_place import Prepared
from nanoseg.bundle import Graph, open_bundle
from nanoseg.errors import EngineError, UsageError
from nanoseg.geometry import SAM_STD
from nanoseg.segmenter import Segmenter
from nanoseg.store import Store
from tests.contract.backends import FAKES, backend, put_engines
from tests.contract.conftest import engines, of_sam, same, tiny  # noqa: F401
from tests.cuda_laws import Stranger, move
from tests.data.fill_weights import image_u8
from tests.fake_cuda import FakeCuda
from tests.fake_trt_plan import Plan
from tests.trt_platforms import FLOAT, graph_of

pytest.importorskip("onnxruntime", reason="needs nanoseg[cpu]")

IMAGE, OTHER = image_u8(1, 120, 160), image_u8(2, 150, 200)
ORIN, DESKTOP, RTX, PYCUDA = FAKES


@pytest.fixture
def on(tiny, engines, monkeypatch):  # noqa: F811
    """The tiny bundle on one of FAKES, opened in a `with`."""

    def open_on(name):
        return backend(name, tiny, engines / "tiny", monkeypatch)

    return open_on


def on_gpu(run, array):
    """The array in the made-up GPU's memory, by another library in the same process: torch, say."""
    driver = run.cuda.module
    _, address = driver.cuMemAlloc(array.nbytes)
    run.cuda.array(int(address), array.shape, array.dtype)[...] = array
    return Stranger(int(address), array.shape, array.dtype), lambda: driver.cuMemFree(address)


def test_a_frame_is_four_launches_and_three_copies(on):
    with on(DESKTOP) as run, run.load(max_objects=3) as segmenter:
        segmenter(IMAGE)
        run.cuda.calls.clear()
        run.trt.calls.clear()
        segmenter(IMAGE)
        calls = run.cuda.calls
        assert calls["cuGraphLaunch"] == 4  # prepare, detect, embed, segment
        # The frame, and logits and IoUs; the embedding to where decoders read it. All else is in the graphs.
        copies = [calls[f"cuMemcpy{way}Async"] for way in ("HtoD", "DtoH", "DtoD")]
        assert copies == [1, 2, 1]
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
def test_what_cannot_be_captured_is_given_anew_each_time(on, function, code, reason):
    with on(DESKTOP) as run:
        with run.load(confidence=0.2) as segmenter:
            wanted = [segmenter(image) for image in (IMAGE, OTHER)]
            assert segmenter.chain.not_captured == {}
        fails = run.trt.fails if function == "capture" else run.cuda.fails
        fails[function] = code
        with run.load(confidence=0.2) as segmenter:
            told = segmenter.chain.not_captured
            assert list(told) == ["detect", "embed", *(f"segment {size}" for size in (1, 2, 4, 8))]
            run.cuda.calls.clear()
            same(segmenter(IMAGE), wanted[0])
            for found, other in zip(segmenter.stream([OTHER, IMAGE]), wanted[::-1], strict=True):
                same(found, other)
            assert run.cuda.calls["cuGraphLaunch"] == 0
            assert list(told)[-1] == "prepare"
            for why in told.values():
                assert re.search(reason, why)
                assert "\n" not in why
            fails.clear()
            assert len(segmenter(image_u8(3, 130, 160))) > 3
            assert run.cuda.calls["cuGraphLaunch"] == 1  # prepare, of a new size


def test_what_tensorrt_for_rtx_says_no_graph_can_hold(on):
    with on("tensorrt for rtx") as run:
        with run.load(confidence=0.2) as segmenter:
            wanted = segmenter(IMAGE)
        run.trt.fails["is_stream_capturable"] = ""
        with run.load(confidence=0.2) as segmenter:
            run.cuda.calls.clear()
            same(segmenter(IMAGE), wanted)
            assert not {"cuGraphLaunch", "cuStreamBeginCapture"} & run.cuda.calls.keys()
            told = segmenter.chain.not_captured
            assert list(told) == ["detect", "embed", *(f"segment {size}" for size in (1, 2, 4, 8)), "prepare"]
            assert told["embed"] == "embed.engine: TensorRT says that no graph can hold it"


@pytest.mark.parametrize("code", ["OUT_OF_MEMORY", "ILLEGAL_ADDRESS", "LAUNCH_FAILED"])
def test_what_is_broken_is_not_taken_for_what_cannot_be_captured(on, monkeypatch, code):
    with on(DESKTOP) as run:
        run.cuda.fails["cuGraphInstantiate"] = code
        with pytest.raises(EngineError, match=code):
            run.load()
        if code != "OUT_OF_MEMORY":  # what lies in a context that is lost cannot be freed
            monkeypatch.setattr(run.cuda, "check", lambda: None)


@pytest.mark.parametrize(
    ("failing", "raised"), [((), None), ((1,), 1), ((2,), None), ((2, 3), None), ((2, 3, 4), 4), ((2, 4), 4)]
)
def test_the_work_outside_of_a_capture_decides(monkeypatch, failing, raised):
    """The second run is the captured one, and the third may be told the error of that."""
    fake, runs = FakeCuda().install(monkeypatch), count(1)
    with open_gpu() as gpu, gpu.stream() as stream, gpu.device(16) as block:

        def work(stream):
            number = next(runs)
            if number in failing:
                raise EngineError(f"run {number}")
            move(gpu, block, stream)

        if raised:
            with pytest.raises(EngineError, match=f"^run {raised}$"):
                Captured(gpu, stream, work)
        else:
            captured = Captured(gpu, stream, work)
            assert captured.refused == ("run 2" if failing else "")
            captured.launch()
            stream.synchronize()
            assert fake.calls["cuGraphLaunch"] == (not failing)
            captured.close()
    fake.check()


def test_without_graphs_all_is_given_anew(on):
    with on(PYCUDA) as run, run.load() as segmenter:
        segmenter(IMAGE)
        assert set(segmenter.chain.not_captured) >= {"prepare", "detect", "embed", "segment 8"}
        assert set(segmenter.chain.not_captured.values()) == {"pycuda captures no graphs"}


@pytest.mark.parametrize("name", [DESKTOP, PYCUDA])
@pytest.mark.parametrize("which", ["tiny", "of_sam"])
def test_nothing_is_computed_of_what_nobody_wrote(request, engines, monkeypatch, which, name):  # noqa: F811
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


@pytest.mark.parametrize(("name", "copies"), [(ORIN, 0), (DESKTOP, 1)])
def test_frames_are_read_where_they_lie_where_memory_is_shared(on, name, copies):
    with on(name) as run, run.load() as segmenter:
        assert segmenter.chain.mapped == (not copies)
        segmenter(IMAGE)
        run.cuda.calls.clear()
        segmenter(IMAGE)
        assert run.cuda.calls["cuMemcpyHtoDAsync"] == copies


def test_frames_are_copied_where_that_is_faster(on, monkeypatch):
    spent_ms = {True: 2.0, False: 1.0}
    monkeypatch.setattr("nanoseg.backends.trt_chain.frame_places._trials_ms", lambda rig: spent_ms)
    with on(ORIN) as run, run.load(confidence=0.2) as segmenter:
        assert not segmenter.chain.mapped
        assert len(segmenter(IMAGE)) > 3


def test_the_rows_are_there_before_the_encoder_is_done(on):
    """What the host waits for first is the detector's."""
    with on(DESKTOP) as run, run.load() as segmenter:
        segmenter(IMAGE)
        chain = segmenter.chain
        started = chain.start(IMAGE, 0.2, 0.7)
        embedded = chain.embedded(started)
        assert chain.rows(started).count > 3
        assert not embedded.ready.done()
        embedded.ready.synchronize()
        assert embedded.ready.done()


def test_the_next_frame_is_on_its_way_while_masks_are_waited_for(on, monkeypatch):
    with on(DESKTOP) as run, run.load(confidence=0.2) as segmenter:
        list(segmenter.stream([IMAGE] * 3))
        told = []
        for name in ("start", "rows", "masks"):
            function = getattr(segmenter.chain, name)
            monkeypatch.setattr(
                segmenter.chain, name, lambda *a, _name=name, _f=function, **k: (told.append(_name), _f(*a, **k))[1]
            )
        list(segmenter.stream([IMAGE, OTHER, IMAGE]))
        assert told == ["start", "start", "rows", "masks", "start", "rows", "masks", "rows", "masks"]


def test_the_items_of_a_stream_come_in_the_same_pinned_memory(on):
    with on(DESKTOP) as run, run.load(max_objects=5) as segmenter:
        places = {found.masks.logits.ctypes.data for found in segmenter.stream([IMAGE] * 4)}
        assert len(places) == 1
        assert run.cuda.memory.whose(places.pop()).kind == "pinned"


def test_the_smallest_bucket_that_has_room(on):
    with on(DESKTOP) as run, run.load() as segmenter:
        decoder = segmenter.chain._decoders["segment"]
        assert list(decoder._buckets) == [1, 2, 4, 8]
        embedding = segmenter.embed(IMAGE)
        for size, bucket in decoder._buckets.items():
            bucket.launch = lambda size=size, launch=bucket.launch: (used.append(size), launch())
        for count, wanted in ((1, [1]), (2, [2]), (3, [4]), (4, [4]), (5, [8]), (8, [8]), (9, [8, 1]), (20, [8, 8, 4])):
            used = []
            segmenter.segment(embedding, boxes=[[1, 2, 30, 40]] * count)
            assert used == wanted
        segmenter.segment(embedding, boxes=[[1, 2, 30, 40]] * 3)
        place = decoder._feeds.on_gpu("point_labels", (4, 2))
        labels = run.cuda.array(place.address, place.shape, place.dtype)
        assert labels.tolist() == [[2, 3], [2, 3], [2, 3], [-2, -2]]
        used = []
        segmenter.segment(embedding, points=[[[5, 6]]], labels=[[1]])  # a point and its padding: two points, too
        assert used == [1]
        segmenter.segment(embedding, points=[[[5, 6], [8, 9]]], labels=[[1, 0]])
        assert used == [1]


def test_an_embedding_is_brought_to_the_decoder_once(on):
    with on(DESKTOP) as run, run.load() as segmenter:
        one, two = segmenter.embed(IMAGE), segmenter.embed(OTHER)
        moves = []
        for embedding in (one, one, two, two, one):
            run.cuda.calls.clear()
            segmenter.segment(embedding, boxes=[1, 2, 30, 40])
            moves.append(run.cuda.calls["cuMemcpyDtoDAsync"])
        assert moves == [1, 0, 1, 0, 1]


def test_an_embedding_that_nobody_holds_is_freed(on):
    with on(DESKTOP) as run, run.load() as segmenter:
        kept = segmenter.embed(IMAGE)
        segmenter.embed(OTHER)  # its size is new
        segmenter.segment(kept, boxes=[1, 2, 30, 40])
        alive = run.cuda.alive
        for _ in range(3):
            embedding = segmenter.embed(OTHER)
            segmenter.segment(embedding, boxes=[1, 2, 30, 40])
        del embedding
        gc.collect()
        assert run.cuda.alive == alive


def test_the_embedding_of_a_frame_that_is_over_is_refused(on):
    with on(DESKTOP) as run, run.load() as segmenter:
        chain = segmenter.chain
        started = chain.start(IMAGE, 0.2, 0.7)
        embedded = chain.embedded(started)
        assert embedded.array().shape == segmenter.embed(OTHER).array.shape  # which takes the frame's place
        for call in (embedded.array, lambda: chain.rows(started)):
            with pytest.raises(EngineError, match="the frame is over: a later one was started"):
                call()


def test_of_frame_sizes_the_least_recently_used_goes(on):
    sizes = [image_u8(i, 120 + 10 * i, 160) for i in range(7)]
    with on(DESKTOP) as run, run.load(confidence=0.2) as segmenter:
        for image in sizes:
            segmenter(image)
        alive = run.cuda.alive
        wanted = [segmenter(image) for image in sizes]
        assert run.cuda.alive == alive
        made = Counter(run.cuda.allocations)
        for image, found in zip(sizes[-4:], wanted[-4:], strict=True):
            same(segmenter(image), found)
        assert run.cuda.allocations == made
        same(segmenter(sizes[0]), wanted[0])
        assert run.cuda.allocations["exec"] == made["exec"] + 1


def test_a_frame_on_the_gpu_is_used_where_it_lies(on):
    with on(DESKTOP) as run, run.load(confidence=0.2) as segmenter:
        wanted = segmenter(IMAGE), segmenter(OTHER)
        there = [on_gpu(run, image) for image in (IMAGE, OTHER)]
        (one, _), (two, _) = there
        same(segmenter(one), wanted[0])
        same(segmenter(two), wanted[1])
        run.cuda.calls.clear()
        same(segmenter(one), wanted[0])
        assert run.cuda.calls["cuMemcpyHtoDAsync"] == 0
        assert run.cuda.calls["cuMemcpyDtoDAsync"] == 1  # the embedding
        for found, other in zip(segmenter.stream([one, two, IMAGE, one]), [*wanted, wanted[0], wanted[0]], strict=True):
            same(found, other)
        np.testing.assert_array_equal(segmenter.embed(one).array, segmenter.embed(IMAGE).array)
        for shape, kind, message in (
            ((120, 160), np.uint8, r"image: wanted \(H, W, 3\) uint8, BGR, got \(120, 160\) uint8"),
            ((120, 40, 3), np.float32, r"got \(120, 40, 3\) float32"),
        ):
            with pytest.raises(UsageError, match=message):
                segmenter(Stranger(1, shape, kind))
        for _, free in there:
            free()


def test_a_frame_on_the_gpu_is_nothing_for_a_cpu(tiny):  # noqa: F811
    with nanoseg.load(tiny, "onnxruntime") as segmenter, pytest.raises(UsageError, match="got Stranger"):
        segmenter(Stranger(1, (120, 160, 3), np.uint8))


def test_a_frame_may_begin_anywhere_on_the_gpu(on):
    """As the lower part of a picture does; TensorRT takes multiples of 256 alone."""
    tall = image_u8(5, 121, 160)
    with on(DESKTOP) as run, run.load(confidence=0.2) as segmenter:
        wanted = segmenter(tall[1:]), segmenter(tall[:-1])
        there, free = on_gpu(run, tall)
        address = there.__cuda_array_interface__["data"][0]
        lower, upper = (Stranger(address + offset, (120, 160, 3), np.uint8) for offset in (480, 0))
        assert (address % 256, (address + 480) % 256) == (0, 224)
        same(segmenter(upper), wanted[1])
        alive = run.cuda.alive["device"]
        same(segmenter(lower), wanted[0])
        assert run.cuda.alive["device"] == alive + 1
        made = Counter(run.cuda.allocations)
        for frame, found, copies in ((upper, wanted[1], 1), (lower, wanted[0], 2)):  # one is the embedding's
            run.cuda.calls.clear()
            same(segmenter(frame), found)
            assert run.cuda.calls["cuMemcpyDtoDAsync"] == copies
        np.testing.assert_array_equal(segmenter.embed(lower).array, segmenter.embed(tall[1:]).array)
        made["device"] += 2  # embeddings
        made["event"] += 2
        assert run.cuda.allocations == made
        narrow = Stranger(address, (120, 160, 3), np.uint8, strides=(510, 3, 1))
        with pytest.raises(EngineError, match=r"wanted a C-contiguous array, got strides .*; copy it into one before"):
            segmenter(narrow)  # a part of a wider picture
        for image in (image_u8(i, 120 + 10 * i, 160) for i in range(4)):
            segmenter(image)
        assert run.cuda.alive["device"] == alive + 3  # four frames more, and the place's own is gone with it
        free()


@pytest.mark.parametrize(
    ("size", "what_to_do"),
    [
        ((100, 160), r"lower min of .*dimensions.height.* in prepare.toml, as engines/README.md tells, and run"),
        ((120, 150), r"for an engine that takes this one lower min"),
        ((100, 4000), r"for an engine that takes this one lower min"),
        ((2161, 160), r"nanoseg build --bundle BUNDLE --max-frame 3840x2161 makes an engine"),
        ((120, 3841), r"nanoseg build --bundle BUNDLE --max-frame 3841x2160 makes an engine"),
    ],
)
def test_a_frame_of_a_size_that_the_engine_was_not_built_for(on, size, what_to_do):
    height, width = size
    told = rf"built for frames of 160x120 to 3840x2160, got {width}x{height} on the GPU; an array of the host may"
    image = image_u8(7, *size)
    with on(DESKTOP) as run, run.load(confidence=0.2) as segmenter:
        found = segmenter(IMAGE)
        with nanoseg.load(run.bundle, "onnxruntime", confidence=0.2) as cpu:  # which prepares all frames so
            wanted = cpu(image)
        same(segmenter(image), wanted)
        same(next(segmenter.stream([image])), wanted)
        np.testing.assert_array_equal(segmenter.detect(image).xyxy, wanted.xyxy)
        there, free = on_gpu(run, image)
        made = Counter(run.cuda.allocations)
        for call in (segmenter, segmenter.embed, segmenter.detect):
            with pytest.raises(EngineError, match=rf"^prepare.engine: {told} have any size; .*{what_to_do}"):
                call(there)
        same(segmenter(IMAGE), found)
        assert run.cuda.allocations == made  # no frame's place went for one that was refused
        free()


def test_sizes_that_the_engine_was_not_built_for_share_a_place(on):
    images = [image_u8(i, 90 + i, 130 + 10 * i) for i in range(7)]  # 90x130 to 96x190
    with on(DESKTOP) as run, run.load(confidence=0.2, max_objects=4) as segmenter:
        wanted = [segmenter(image) for image in images]
        assert len(segmenter(IMAGE)) > 3
        list(segmenter.stream([*images, IMAGE, IMAGE]))
        made = Counter(run.cuda.allocations)
        for image, found in zip(images, wanted, strict=True):
            run.cuda.calls.clear()
            same(segmenter(image), found)
            assert run.cuda.calls["cuMemcpyHtoDAsync"] == 3  # what prepare would have made
            assert run.cuda.calls["cuGraphLaunch"] == 3  # detect, embed, segment
            segmenter(IMAGE)
        for found, other in zip(segmenter.stream(images), wanted, strict=True):
            same(found, other)
        del found  # which keeps the pinned memory that it is a view of
        assert run.cuda.allocations == made


def test_the_host_prepares_what_the_engine_would(engines, monkeypatch):  # noqa: F811
    """In the networks' own precisions; resized pixels may be a level apart."""
    image = image_u8(3, 480, 640)
    with backend(DESKTOP, "parts", engines / "parts", monkeypatch) as run, run.load() as segmenter:
        chain, made = segmenter.chain, []
        slot, rig = chain._slots[0], chain._rig
        for place in (slot._place(image), Prepared(rig, slot._between, chain._preparer())):
            place.put(image)
            place.prepare()
            rig.detect.synchronize()
            lies = [slot._between.on_gpu(name) for name in ("images", "image", "geometry")]
            made.append([run.cuda.array(each.address, each.shape, each.dtype).copy() for each in lies])
        place.close()
        for one, other in zip(*made, strict=True):
            assert one.dtype == other.dtype
        (images, image, geometry), (host_images, host_image, host_geometry) = made
        assert image.dtype == np.float16
        np.testing.assert_allclose(images, host_images, atol=1.01 / 255)
        np.testing.assert_allclose(image, host_image, atol=1.01 / min(SAM_STD), rtol=1e-3)
        np.testing.assert_array_equal(geometry, host_geometry)


def test_more_points_than_the_engine_was_built_for(on):
    with on(DESKTOP) as run, run.load() as segmenter:
        embedding = segmenter.embed(IMAGE)
        points = [[[i, i] for i in range(15)]]
        assert len(segmenter.segment(embedding, points=points, labels=[[1] * 15])) == 1
        with pytest.raises(UsageError, match=r"segment.engine takes up to 16 points a prompt, got 17"):
            segmenter.segment(embedding, points=[points[0] + [[1, 1]]], labels=[[1] * 16])


def test_the_host_finishes_what_the_graph_left_undone(on, monkeypatch):
    with on(DESKTOP) as run, run.load(confidence=0.2) as segmenter:
        wanted, rows = segmenter(IMAGE), segmenter.chain.rows
        monkeypatch.setattr(segmenter.chain, "rows", lambda started: replace(rows(started), count=1, unconverged=3))
        same(segmenter(IMAGE), wanted)
        assert segmenter.unconverged_frames == 1


DECODER_OF_MASKS = graph_of(
    {
        "image_embeddings": (FLOAT, (1, 256, 4, 4)),
        "point_coords": (FLOAT, ("prompts", "points", 2)),
        "point_labels": (FLOAT, ("prompts", "points")),
        "geometry": (FLOAT, (8,)),
        "mask_input": (FLOAT, ("prompts", 1, 16, 16)),
        "has_mask_input": (FLOAT, ("prompts",)),
    },
    {"low_res_masks": (FLOAT, ("prompts", 1, 16, 16)), "iou_predictions": (FLOAT, ("prompts", 1))},
    [
        ("ReduceSum", ["image_embeddings"], ["seen"], {"keepdims": 0}),
        ("ReduceSum", ["point_coords", "middle"], ["sum"], {"keepdims": 0}),
        ("ReduceSum", ["sum", "middle"], ["one"], {"keepdims": 1}),
        ("Reshape", ["has_mask_input", "column"], ["has"], {}),
        ("ReduceSum", ["geometry"], ["size"], {"keepdims": 0}),
        ("Add", ["one", "has"], ["both"], {}),
        ("Add", ["both", "size"], ["iou_predictions"], {}),
        ("Reshape", ["has_mask_input", "block"], ["switch"], {}),
        ("Mul", ["mask_input", "switch"], ["masks"], {}),
        ("Add", ["masks", "seen"], ["low_res_masks"], {}),
    ],
    {"middle": np.array([1]), "column": np.array([-1, 1]), "block": np.array([-1, 1, 1, 1])},
)


@pytest.mark.parametrize("name", [DESKTOP, PYCUDA])
def test_masks_as_prompts_of_many_at_once(tiny, tmp_path, monkeypatch, name):  # noqa: F811
    path = tmp_path / "segment_mask.onnx"
    path.write_bytes(DECODER_OF_MASKS)
    bundle = open_bundle(tiny)
    graph = Graph(path.name, "5" * 64, len(DECODER_OF_MASKS), "fp32", path)
    bundle = replace(bundle, graphs={**bundle.graphs, "segment_mask": graph})
    rng = np.random.default_rng(3)
    masks = [rng.normal(size=(16, 16)).astype(np.float32) if i % 3 else None for i in range(11)]
    boxes = [[i, 2, i + 20, 30] for i in range(11)]
    with backend(name, tiny, tmp_path / "engines", monkeypatch):
        put_engines(bundle, Store(tmp_path / "engines"))
        with Segmenter(bundle, open_chain(bundle, "tensorrt", engines=tmp_path / "engines")) as segmenter:
            embedding = segmenter.embed(IMAGE)
            found = segmenter.segment(embedding, boxes=boxes, mask_input=masks)
            seen = embedding.array.sum()
            for i, mask in enumerate(masks):
                wanted = seen + (0 if mask is None else mask)
                np.testing.assert_allclose(found.logits[i], np.broadcast_to(wanted, (16, 16)), rtol=1e-3, atol=1e-3)
                size = embedding.geometry.vector().sum()
                assert found.confidence[i] == pytest.approx(sum(boxes[i]) + (mask is not None) + size, rel=1e-5)
            # The decoder without masks stands on the same embedding.
            assert len(segmenter.segment(embedding, boxes=boxes)) == 11


def test_a_gpu_that_breaks_is_told_and_closed(on, monkeypatch):
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
