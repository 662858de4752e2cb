"""What every backend keeps, gives back and leaves alone."""

import threading
import tracemalloc

import numpy as np
import pytest

from nanoseg.errors import EngineError, UsageError
from nanoseg.sources.parts import Line
from tests.contract.backends import REAL
from tests.contract.conftest import same
from tests.data.fill_weights import image_u8

IMAGES = [image_u8(i, 120 + 8 * i, 160) for i in range(4)]


def bytes_of(found):
    return [
        np.asarray(each).tobytes() for each in (found.xyxy, found.confidence, found.mask_confidence, found.masks.logits)
    ]


def test_what_a_call_gave_stays_as_it_is(run):
    with run.load(confidence=0.2) as segmenter:
        found, embedding = segmenter(IMAGES[0]), segmenter.embed(IMAGES[0])
        masks = segmenter.segment(embedding, boxes=[1, 2, 90, 80])
        before = bytes_of(found), masks.logits.tobytes(), embedding.array.tobytes()
        for image in IMAGES:
            segmenter(image)
            segmenter.segment(segmenter.embed(image), boxes=[5, 5, 60, 60])
        list(segmenter.stream(IMAGES))
        assert (bytes_of(found), masks.logits.tobytes(), embedding.array.tobytes()) == before
        again = segmenter.segment(embedding, boxes=[1, 2, 90, 80])
        np.testing.assert_array_equal(again.logits, masks.logits)
    assert bytes_of(found) == before[0]
    assert found.mask.shape == (len(found), *IMAGES[0].shape[:2])


def test_an_item_of_a_stream_stays_until_the_next_is_asked_for(run):
    with run.load(max_objects=5) as segmenter:  # so few that one call of the decoder does
        wanted = [bytes_of(segmenter(image)) for image in IMAGES]
        for found, before in zip(segmenter.stream(IMAGES), wanted, strict=True):
            segmenter(IMAGES[0])
            segmenter.segment(segmenter.embed(IMAGES[1]), boxes=[5, 5, 60, 60])
            assert bytes_of(found) == before


def test_the_image_may_change_once_a_call_is_back(run):
    with run.load(confidence=0.2) as segmenter:
        wanted = segmenter(IMAGES[0])
        image = IMAGES[0].copy()
        found = segmenter(image)
        embedding = segmenter.embed(image)
        image[:] = 0
        same(found, wanted)
        np.testing.assert_array_equal(embedding.array, segmenter.embed(IMAGES[0]).array)


def test_after_the_end(run):
    segmenter = run.load(confidence=0.2)
    embedding, stream = segmenter.embed(IMAGES[0]), segmenter.stream(IMAGES)
    next(stream)
    segmenter.close()
    segmenter.close()
    for call in (
        lambda: segmenter(IMAGES[0]),
        lambda: segmenter.embed(IMAGES[0]),
        lambda: segmenter.detect(IMAGES[0]),
        lambda: segmenter.segment(embedding, boxes=[1, 2, 30, 40]),
        lambda: next(stream),
    ):
        with pytest.raises(EngineError, match="closed") as error:
            call()
        assert "\n" not in str(error.value)


def test_opened_again_it_answers_the_same(run):
    answers = []
    for _ in range(3):
        with run.load(confidence=0.2) as segmenter:
            answers.append(segmenter(IMAGES[0]))
    same(answers[0], answers[1])
    same(answers[0], answers[2])


def test_two_segmenters_at_once(run):
    with run.load(confidence=0.2) as one, run.load(confidence=0.2) as two:
        wanted = [one(image) for image in IMAGES]
        for i, (first, last) in enumerate(zip(one.stream(IMAGES), two.stream(IMAGES[::-1]), strict=True)):
            same(two(IMAGES[i]), wanted[i])
            same(first, wanted[i])
            same(last, wanted[3 - i])
        one.close()
        same(two(IMAGES[2]), wanted[2])


def in_thread(work):
    raised = []

    def run():
        try:
            work()
        except BaseException as error:  # told to the test's own thread
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, raised


def test_from_another_thread(run):
    with run.load(confidence=0.2) as segmenter:
        wanted = [segmenter(image) for image in IMAGES]

        def work():
            for image, other in zip(IMAGES, wanted, strict=True):
                same(segmenter(image), other)
            for found, other in zip(segmenter.stream(IMAGES), wanted, strict=True):
                same(found, other)
            assert segmenter.embed(IMAGES[0]).array.any()

        thread, raised = in_thread(work)
        thread.join()
        assert not raised


def test_from_many_threads_at_once(run):
    with run.load(confidence=0.2) as segmenter:
        wanted = [segmenter(image) for image in IMAGES]
        embedding = segmenter.embed(IMAGES[0])
        masks = segmenter.segment(embedding, boxes=[1, 2, 90, 80]).logits

        def call(turn):
            for i in range(6):
                index = (i + turn) % 4
                same(segmenter(IMAGES[index]), wanted[index])

        def ask():
            for _ in range(6):
                np.testing.assert_array_equal(segmenter.segment(embedding, boxes=[1, 2, 90, 80]).logits, masks)

        started = [in_thread(lambda turn=turn: call(turn)) for turn in range(2)] + [in_thread(ask)]
        for thread, _ in started:
            thread.join()
        assert [raised for _, raised in started] == [[], [], []]


def test_a_graph_that_fails_and_the_frame_after_it(run):
    with run.load(confidence=0.2) as segmenter:
        wanted = segmenter(IMAGES[0])
        new = image_u8(9, 133, 177)  # a size that nothing was captured for
        with run.failing(segmenter):
            for call in (segmenter, lambda image: list(segmenter.stream([image]))):
                with pytest.raises(EngineError) as error:
                    call(new)
                assert "\n" not in str(error.value)
        same(segmenter(IMAGES[0]), wanted)
        assert len(segmenter(new)) == len(wanted)
        for found in segmenter.stream([IMAGES[0], IMAGES[0]]):
            same(found, wanted)


def test_an_image_that_is_none_in_the_midst_of_a_stream(run):
    with run.load(confidence=0.2) as segmenter:
        wanted = segmenter(IMAGES[0])
        stream = segmenter.stream([IMAGES[0], IMAGES[0], "no picture"])
        with pytest.raises(UsageError, match="image: wanted"):
            list(stream)
        same(segmenter(IMAGES[0]), wanted)
        assert len(list(segmenter.stream(IMAGES))) == 4


@pytest.mark.parametrize("kind", ["call", "stream"])
def test_many_frames_take_nothing_new(run, kind):
    sizes = IMAGES[:3]
    frames = [sizes[i % 3] for i in range(10_000 if run.on_gpu and run.cuda is None else 200)]
    with run.load(confidence=0.2) as segmenter:
        handle = segmenter.stream if kind == "stream" else lambda images: map(segmenter, images)
        for found in handle(frames[:12]):
            assert len(found)
        before = run.memory(segmenter)
        for number, found in enumerate(handle(frames)):
            segmenter.max_objects = number % 13 + 1
            assert len(found)
        assert run.memory(segmenter) == before


def most_taken(answers):
    """The most memory that is taken at once for an item, in bytes; the first one is for warming up.

    Counted is what Python, numpy and OpenCV allocate, of which what is given back is a kilobyte or so. Logits, and
    whatever a graph computes, ONNX Runtime puts into a pool of its own, which tracemalloc does not see, and
    test_memory_is_steady_over_2000_frames does.
    """
    taken = []
    tracemalloc.start()
    try:
        next(answers)
        while True:
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            if next(answers, None) is None:
                break
            taken.append(tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()
    return max(taken), len(taken)


LARGE_HW = (720, 1280)
ON_HOST = pytest.mark.parametrize("run", ["onnxruntime", REAL], indirect=True)  # a made-up GPU lies on the host itself


@ON_HOST
@pytest.mark.parametrize("kind", ["call", "stream"])
def test_nothing_as_large_as_a_frame_is_taken_for_one(run, kind):
    frames = [image_u8(i, *LARGE_HW) for i in range(3)]
    with run.load(confidence=0.2, max_objects=8) as segmenter:  # one call of the decoder: what several give is joined
        handle = segmenter.stream if kind == "stream" else lambda images: map(segmenter, images)
        assert all(len(found) > 3 for found in handle(frames))
        most, count = most_taken(iter(handle(frames[i % 3] for i in range(101))))
    assert count == 100
    assert most < LARGE_HW[0] * LARGE_HW[1] / 4  # a twelfth of the frame


@pytest.mark.parametrize("run_parts", ["onnxruntime", REAL], indirect=True)
def test_nor_as_large_as_the_inputs_of_its_networks(run_parts):
    line = Line(5, size_wh=LARGE_HW[::-1])
    frames = [line.frame(20 + i).image for i in range(5)]
    with run_parts.load(max_objects=8) as segmenter:
        assert len(segmenter(frames[0])) > 3
        most, _ = most_taken(map(segmenter, frames))
    assert most < LARGE_HW[0] * LARGE_HW[1] / 4
