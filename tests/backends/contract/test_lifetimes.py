"""What every backend keeps, gives back and leaves alone."""

import threading

import numpy as np
import pytest

from nanoseg.errors import EngineError, NanosegError, SourceError, UsageError
from tests.backends.contract.backends import FAKES, REAL
from tests.backends.contract.conftest import same
from tests.backends.cuda.arrays import Stranger
from tests.data.fill_weights import image_u8

IMAGES = [image_u8(i, 120 + 8 * i, 160) for i in range(4)]
ON_GPU = pytest.mark.parametrize("run", [*FAKES, REAL], indirect=True)


def bytes_of(found):
    return [
        np.asarray(each).tobytes() for each in (found.xyxy, found.confidence, found.mask_confidence, found.masks.logits)
    ]


def test_segmenter_results_of_a_call_do_not_change(run):
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


def test_segmenter_results_of_a_stream_stay_until_the_next(run):
    with run.load(max_objects=5) as segmenter:  # so few that one call of the decoder does
        wanted = [bytes_of(segmenter(image)) for image in IMAGES]
        for (_, found), before in zip(segmenter.stream(IMAGES), wanted, strict=True):
            segmenter(IMAGES[0])
            segmenter.segment(segmenter.embed(IMAGES[1]), boxes=[5, 5, 60, 60])
            assert bytes_of(found) == before


def test_segmenter_image_may_change_after_the_call(run):
    with run.load(confidence=0.2) as segmenter:
        wanted = segmenter(IMAGES[0])
        image = IMAGES[0].copy()
        found = segmenter(image)
        embedding = segmenter.embed(image)
        image[:] = 0
        same(found, wanted)
        np.testing.assert_array_equal(embedding.array, segmenter.embed(IMAGES[0]).array)


@ON_GPU
@pytest.mark.parametrize("offset", [0, 3])
def test_segmenter_device_frame_may_change_after_the_next(run, offset):
    """As a camera does it that puts each picture where the last one was."""
    images = [image_u8(i, 120, 160) for i in range(6)]
    size = images[0].nbytes
    with run.load(confidence=0.2) as segmenter:
        wanted = [segmenter(image) for image in images]
        gpu = segmenter.pipeline._resources.gpu
        stream, pinned, block = gpu.stream(), gpu.host_buffer((size,), np.uint8), gpu.device_buffer(size + offset)
        lies = block.view((size,), np.uint8, offset)

        def camera():
            for image in images:
                pinned.array[:] = image.ravel()
                gpu.copy(lies, pinned, stream)
                stream.synchronize()
                yield block.view(image.shape, np.uint8, offset)

        for (_, found), other in zip(segmenter.stream(camera()), wanted, strict=True):
            same(found, other)
        for frame, other in zip(camera(), wanted, strict=True):
            same(segmenter(frame), other)


def test_segmenter_closed_refuses_calls(run):
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


def test_segmenter_opened_again_returns_the_same(run):
    answers = []
    for _ in range(3):
        with run.load(confidence=0.2) as segmenter:
            answers.append(segmenter(IMAGES[0]))
    same(answers[0], answers[1])
    same(answers[0], answers[2])


def test_segmenter_two_segmenters_at_once(run):
    with run.load(confidence=0.2) as one, run.load(confidence=0.2) as two:
        wanted = [one(image) for image in IMAGES]
        for i, ((_, first), (_, last)) in enumerate(zip(one.stream(IMAGES), two.stream(IMAGES[::-1]), strict=True)):
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
        except BaseException as error:  # re-raised in the test's own thread
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, raised


def test_segmenter_from_another_thread(run):
    with run.load(confidence=0.2) as segmenter:
        wanted = [segmenter(image) for image in IMAGES]

        def work():
            for image, other in zip(IMAGES, wanted, strict=True):
                same(segmenter(image), other)
            for (_, found), other in zip(segmenter.stream(IMAGES), wanted, strict=True):
                same(found, other)
            assert segmenter.embed(IMAGES[0]).array.any()

        thread, raised = in_thread(work)
        thread.join()
        assert not raised


def test_segmenter_from_many_threads_at_once(run):
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


def test_segmenter_graph_that_fails_and_the_frame_after_it(run):
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
        for _, found in segmenter.stream([IMAGES[0], IMAGES[0]]):
            same(found, wanted)


def source_that_fails():
    yield IMAGES[0]
    yield IMAGES[0]
    raise SourceError("camera: it was pulled out")


@pytest.mark.parametrize(
    ("frames", "error", "message"),
    [
        (lambda: [IMAGES[0], IMAGES[0], "no picture"], UsageError, "image: wanted"),
        (source_that_fails, SourceError, "^camera: it was pulled out$"),
        # Begun by a GPU's pipeline, and found to be nowhere on it; nothing that others begin.
        (lambda: [IMAGES[0], IMAGES[0], Stranger(4096, (120, 160, 3), np.uint8)], NanosegError, "Stranger"),
    ],
)
def test_segmenter_stream_yields_pairs_before_an_error(run, frames, error, message):
    with run.load(confidence=0.2) as segmenter:
        wanted, found = segmenter(IMAGES[0]), []
        with pytest.raises(error, match=message):
            found.extend(found for _, found in segmenter.stream(frames()))
        assert len(found) == 2
        same(found[1], wanted)
        same(segmenter(IMAGES[0]), wanted)
        assert len(list(segmenter.stream(IMAGES))) == 4


def test_segmenter_stream_of_nothing(run):
    with run.load() as segmenter:
        with pytest.raises(TypeError):
            list(segmenter.stream(None))
        assert list(segmenter.stream([])) == []
