"""The pipeline on a made-up GPU: embeddings, prompts and their buckets."""

import gc
from dataclasses import replace

import numpy as np
import pytest

from nanoseg.backends.select import open_pipeline
from nanoseg.bundle import Graph, open_bundle
from nanoseg.engines import EngineStore
from nanoseg.errors import EngineError, UsageError
from nanoseg.segmenter import Segmenter
from tests.backends.contract.backends import backend, put_engines
from tests.backends.tensorrt.pipeline.frames import DESKTOP, IMAGE, OTHER, PYCUDA
from tests.fakes.tensorrt_platforms import FLOAT, graph_of


def test_decoder_uses_the_smallest_bucket_that_holds_the_batch(on):
    with on(DESKTOP) as run, run.load() as segmenter:
        decoder = segmenter.pipeline._decoders["segment"]
        assert list(decoder._buckets) == list(range(1, 9))
        embedding = segmenter.embed(IMAGE)
        for size, bucket in decoder._buckets.items():
            bucket.launch = lambda size=size, launch=bucket.launch: (used.append(size), launch())
        for count, wanted in ((1, [1]), (3, [3]), (5, [5]), (8, [8]), (9, [8, 1]), (20, [8, 8, 4])):
            used = []
            segmenter.segment(embedding, boxes=[[1, 2, 30, 40]] * count)
            assert used == wanted
        del decoder._buckets[3]  # as of an engine for more, of which not every number has one
        segmenter.segment(embedding, boxes=[[1, 2, 30, 40]] * 3)
        place = decoder._inputs.device_array("point_labels", (4, 2))
        labels = run.cuda.array(place.address, place.shape, place.dtype)
        assert labels.tolist() == [[2, 3], [2, 3], [2, 3], [-2, -2]]
        used = []
        segmenter.segment(embedding, points=[[[5, 6]]], labels=[[1]])  # a point and its padding: two points, too
        assert used == [1]
        segmenter.segment(embedding, points=[[[5, 6], [8, 9]]], labels=[[1, 0]])
        assert used == [1]


def test_decoder_loads_an_embedding_once(on):
    with on(DESKTOP) as run, run.load() as segmenter:
        one, two = segmenter.embed(IMAGE), segmenter.embed(OTHER)
        moves = []
        for embedding in (one, one, two, two, one):
            run.cuda.calls.clear()
            segmenter.segment(embedding, boxes=[1, 2, 30, 40])
            moves.append(run.cuda.calls["cuMemcpyDtoDAsync"])
        assert moves == [1, 0, 1, 0, 1]


def test_embedding_without_references_is_freed(on):
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


def test_embedding_of_an_ended_frame_is_refused(on):
    with on(DESKTOP) as run, run.load() as segmenter:
        pipeline = segmenter.pipeline
        started = pipeline.start(IMAGE, 0.2, 0.7)
        embedded = pipeline.embedding(started)
        assert embedded.array().shape == segmenter.embed(OTHER).array.shape  # which takes the frame's place
        for call in (embedded.array, lambda: pipeline.detections(started)):
            with pytest.raises(EngineError, match="the frame is over: a later one was started"):
                call()


def test_decoder_refuses_more_points_than_the_engine_takes(on):
    with on(DESKTOP) as run, run.load() as segmenter:
        embedding = segmenter.embed(IMAGE)
        points = [[[i, i] for i in range(15)]]
        assert len(segmenter.segment(embedding, points=points, labels=[[1] * 15])) == 1
        with pytest.raises(UsageError, match=r"segment.engine takes up to 16 points a prompt, got 17"):
            segmenter.segment(embedding, points=[points[0] + [[1, 1]]], labels=[[1] * 16])


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
def test_decoder_takes_masks_as_prompts_in_batches(tiny, tmp_path, monkeypatch, name):
    path = tmp_path / "segment_mask.onnx"
    path.write_bytes(DECODER_OF_MASKS)
    bundle = open_bundle(tiny)
    graph = Graph(path.name, "5" * 64, len(DECODER_OF_MASKS), "fp32", path)
    bundle = replace(bundle, graphs={**bundle.graphs, "segment_mask": graph})
    rng = np.random.default_rng(3)
    masks = [rng.normal(size=(16, 16)).astype(np.float32) if i % 3 else None for i in range(11)]
    boxes = [[i, 2, i + 20, 30] for i in range(11)]
    with backend(name, tiny, tmp_path / "engines", monkeypatch):
        put_engines(bundle, EngineStore(tmp_path / "engines"))
        with Segmenter(bundle, open_pipeline(bundle, "tensorrt", engines=tmp_path / "engines")) as segmenter:
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
