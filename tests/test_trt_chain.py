"""The chain on a made-up GPU: what is launched when, what lies where, and which backend is taken."""

import gc
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

import nanoseg
from nanoseg.backends import open_chain
from nanoseg.backends.trt_chain import opening as trt_open
from nanoseg.bundle import Graph, open_bundle
from nanoseg.errors import EngineError, UsageError
from nanoseg.segmenter import Segmenter
from nanoseg.store import Store
from tests.contract.backends import FAKES, backend, put_engines
from tests.contract.conftest import engines, of_sam, same, tiny  # noqa: F401
from tests.cuda_laws import Stranger
from tests.data.fill_weights import image_u8
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
    monkeypatch.setattr("nanoseg.backends.trt_chain.frame_places._trial_ms", lambda rig, mapped: spent_ms[mapped])
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


@pytest.mark.parametrize(
    ("size", "what_to_do"),
    [
        ((100, 160), r"backend onnxruntime takes any size; .* lower min of .*dimensions.height.* in prepare.toml"),
        ((120, 150), r"backend onnxruntime takes any size"),
        ((100, 4000), r"backend onnxruntime takes any size"),
        ((2161, 3840), r"nanoseg build --bundle BUNDLE --max-frame 3840x2161 makes an engine"),
        ((200, 3841), r"nanoseg build --bundle BUNDLE --max-frame 3841x2160 makes an engine"),
    ],
)
def test_a_frame_of_a_size_that_the_engine_was_not_built_for(on, size, what_to_do):
    height, width = size
    message = rf"prepare.engine: built for frames of 160x120 to 3840x2160, got {width}x{height}; {what_to_do}"
    with on(DESKTOP) as run, run.load(confidence=0.2) as segmenter:
        for call in (segmenter, segmenter.embed, segmenter.detect):
            with pytest.raises(EngineError, match=message):
                call(np.zeros((*size, 3), np.uint8))
        assert len(segmenter(IMAGE)) > 3


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


def test_auto_takes_tensorrt_where_all_engines_are_valid(on, tmp_path):
    with on(DESKTOP) as run:
        with nanoseg.load(run.bundle, engines=run.engines) as segmenter:
            assert (segmenter.backend, segmenter.device) == (
                "tensorrt",
                "NVIDIA GeForce RTX 4090 (sm89) with TensorRT 11.4.0",
            )
        with nanoseg.load(run.bundle, engines=run.engines, resize="nanosam") as segmenter:
            assert segmenter.backend == "onnxruntime"
        bundle = open_bundle(run.bundle)
        put_engines(
            replace(bundle, graphs={name: bundle.graphs[name] for name in ("prepare", "embed")}), Store(tmp_path)
        )
        with nanoseg.load(run.bundle, engines=tmp_path) as segmenter:
            assert segmenter.backend == "onnxruntime"
        with pytest.raises(
            EngineError, match=r"detect.engine: not built; build it here: nanoseg build --bundle .*tiny"
        ):
            nanoseg.load(run.bundle, "tensorrt", engines=tmp_path)
        with pytest.raises(
            UsageError, match="resize: backend tensorrt prepares frames on the GPU, as cv2 does; pil is"
        ):
            nanoseg.load(run.bundle, "tensorrt", engines=run.engines, resize="pil")


def test_without_engines_no_tensorrt_is_looked_for(tiny, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(trt_open, "current_device", lambda: pytest.fail("asked for the device"))
    with nanoseg.load(tiny, engines=tmp_path) as segmenter:
        assert segmenter.backend == "onnxruntime"


def test_where_engines_cannot_be_looked_for(tiny, tmp_path, monkeypatch):  # noqa: F811
    (tmp_path / "engines").write_text("a file")
    with nanoseg.load(tiny, engines=tmp_path / "engines") as segmenter:
        assert segmenter.backend == "onnxruntime"


def test_without_a_gpu(tiny, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(trt_open, "look_for_device", lambda: (None, "no TensorRT on this machine"))
    with pytest.raises(EngineError, match=r"^tensorrt: no TensorRT on this machine; backend onnxruntime runs"):
        nanoseg.load(tiny, "tensorrt", engines=tmp_path)


@pytest.mark.parametrize("what", ["memory", "engine", "context"])
def test_what_cannot_be_opened_leaves_nothing(on, monkeypatch, what):
    with on(DESKTOP) as run:
        if what == "memory":
            run.cuda.fails["cuMemAlloc"] = "OUT_OF_MEMORY"
        else:
            function = {"engine": "deserialize_cuda_engine", "context": "create_execution_context"}[what]
            run.trt.fails[function] = "Error Code 2: OutOfMemory"
        with pytest.raises(EngineError) as error:
            run.load()
        assert "\n" not in str(error.value)
        run.cuda.fails.clear()
        run.trt.fails.clear()
        del error
        gc.collect()
        assert not run.cuda.alive
        with run.load(confidence=0.2) as segmenter:
            assert len(segmenter(IMAGE)) > 3


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
