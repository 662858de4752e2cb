"""The pipeline on a made-up GPU when it is cut short: by Ctrl-C, by a failure, by another thread, by its own owner."""

import gc
import threading
import weakref
from collections import Counter

import pytest

import nanoseg
from nanoseg.backends.tensorrt.pipeline import resources as resources
from nanoseg.backends.tensorrt.pipeline.frame_buffers import HostFrameBuffer
from nanoseg.errors import EngineError
from nanoseg.processing.embedding import Embedding
from tests.backends.contract.conftest import same
from tests.backends.tensorrt.pipeline.frames import DESKTOP, IMAGE, ORIN, OTHER, on_gpu
from tests.data.fill_weights import image_u8

BOX = [1, 2, 30, 40]


def test_pipeline_ctrl_c_right_after_a_capture_began(on, monkeypatch):
    with on(DESKTOP) as run, run.load(confidence=0.2) as segmenter, run.load(confidence=0.2) as other:
        wanted, begin = other(OTHER), run.cuda.module.cuStreamBeginCapture

        def interrupted(*arguments):
            begin(*arguments)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(run.cuda.module, "cuStreamBeginCapture", interrupted)
            with pytest.raises(KeyboardInterrupt):
                segmenter(OTHER)  # a size that nothing was captured for
        same(segmenter(OTHER), wanted)


def test_pipeline_ctrl_c_while_it_is_opened(on, monkeypatch):
    buffers, preprocess = [], HostFrameBuffer.preprocess

    def interrupted(buffer):
        preprocess(buffer)
        buffers.append(buffer)
        if len(buffers) == 3:
            raise KeyboardInterrupt

    with on(ORIN) as run:
        with monkeypatch.context() as patch:
            patch.setattr(HostFrameBuffer, "preprocess", interrupted)
            with pytest.raises(KeyboardInterrupt):
                run.load()
        buffers.clear()
        run.load().close()


class Interrupting:
    """A lock; Ctrl-C comes right after it is given back."""

    def __init__(self):
        self._lock = threading.Lock()

    def __enter__(self):
        self._lock.acquire()

    def __exit__(self, *_):
        self._lock.release()
        raise KeyboardInterrupt


def test_pipeline_ctrl_c_at_the_start_of_a_stream(tiny):
    with nanoseg.load(tiny, "onnxruntime") as segmenter:
        lock, segmenter._lock = segmenter._lock, Interrupting()
        with pytest.raises(KeyboardInterrupt):
            next(segmenter.stream([IMAGE]))
        segmenter._lock = lock
        assert len(list(segmenter.stream([IMAGE]))) == 1


def test_pipeline_slot_that_cannot_be_made_leaves_nothing(on, monkeypatch):
    captured = resources.Resources.captured

    def without_room(self, name, *more):
        if name == "embed":
            raise EngineError("no room")
        return captured(self, name, *more)

    with on(DESKTOP) as run, run.load(confidence=0.2) as segmenter:
        segmenter(IMAGE)
        before = run.cuda.alive
        gc.collect()
        gc.disable()
        try:
            with monkeypatch.context() as patch:
                patch.setattr(resources.Resources, "captured", without_room)
                with pytest.raises(EngineError, match="no room") as got:
                    list(segmenter.stream([IMAGE]))
            del got
            assert run.cuda.alive == before
        finally:
            gc.enable()
        assert len(list(segmenter.stream([IMAGE]))) == 1


def test_pipeline_frame_of_the_gpu_that_failed_is_its_owners_again(on):
    with on(DESKTOP) as run, run.load(confidence=0.2) as segmenter:
        segmenter(IMAGE)
        frame, free = on_gpu(run, IMAGE)
        run.cuda.fails["cuGraphLaunch"] = "NOT_SUPPORTED"
        with pytest.raises(EngineError, match="cuGraphLaunch"):
            segmenter(frame)
        run.cuda.fails.clear()
        free()
        assert run.cuda.take_faults() == []


def test_pipeline_frame_of_the_gpu_is_not_kept(on):
    with on(DESKTOP) as run, run.load(confidence=0.2) as segmenter:
        frame, free = on_gpu(run, IMAGE)
        kept = weakref.ref(frame)
        found = segmenter(frame)
        del frame
        gc.collect()
        assert kept() is None
        free()
        same(found, segmenter(IMAGE))


def test_pipeline_error_that_ended_a_stream_is_not_kept(on):
    class GoneError(Exception):
        pass

    def images():
        yield IMAGE
        raise GoneError

    with on(DESKTOP) as run, run.load(confidence=0.2) as segmenter:
        gc.collect()
        gc.disable()
        try:
            with pytest.raises(GoneError) as got:
                list(segmenter.stream(images()))
            error = weakref.ref(got.value)
            del got
            assert error() is None
        finally:
            gc.enable()


def test_pipeline_embeddings_of_the_host_and_of_the_gpu_take_turns(on):
    with on(DESKTOP) as run, run.load(confidence=0.2) as segmenter:
        one, two = segmenter.embed(IMAGE), segmenter.embed(OTHER)
        host = Embedding.of(two.array, two.geometry)
        first, second, again = (segmenter.segment(each, boxes=BOX).logits for each in (one, host, one))
        assert (first == again).all()
        assert (second == segmenter.segment(two, boxes=BOX).logits).all()
        assert (first != second).any()


def test_pipeline_frame_size_that_is_used_again_stays(on):
    sizes = [image_u8(i, 120 + 10 * i, 160) for i in range(5)]
    with on(DESKTOP) as run, run.load(confidence=0.2) as segmenter:
        for index in (0, 1, 2, 3, 0, 4):
            segmenter(sizes[index])
        made = Counter(run.cuda.allocations)
        segmenter(sizes[0])
        assert run.cuda.allocations == made
        segmenter(sizes[1])
        assert run.cuda.allocations["exec"] == made["exec"] + 1


def test_pipeline_closed_by_another_thread_while_a_frame_is_under_way(on, monkeypatch):
    with on(DESKTOP) as run:
        segmenter = run.load(confidence=0.2)
        pipeline, ended = segmenter.pipeline, []
        closing = threading.Thread(target=lambda: (segmenter.close(), ended.append("closed")))
        detections = pipeline.detections

        def late(started):
            closing.start()
            closing.join(0.05)  # it waits for the frame
            ended.append("detections")
            return detections(started)

        monkeypatch.setattr(pipeline, "detections", late)
        assert len(segmenter(IMAGE))
        closing.join()
        assert ended == ["detections", "closed"]


def test_pipeline_stream_goes_on_in_another_thread(on):
    with on(DESKTOP) as run, run.load(confidence=0.2) as segmenter:
        alone = [segmenter(image) for image in (IMAGE, OTHER)]
        stream, last = segmenter.stream([IMAGE, OTHER]), []
        same(next(stream)[1], alone[0])
        thread = threading.Thread(target=lambda: last.extend(stream))
        thread.start()
        thread.join()
        ((_, found),) = last
        same(found, alone[1])
