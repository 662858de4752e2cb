"""The pipeline on a made-up GPU: where frames lie, those of the GPU's own memory among them."""

from collections import Counter

import numpy as np
import pytest

import nanoseg
from nanoseg.errors import EngineError, UsageError
from tests.backends.contract.conftest import same
from tests.backends.cuda.arrays import Stranger
from tests.backends.tensorrt.pipeline.frames import DESKTOP, IMAGE, ORIN, OTHER, on_gpu
from tests.data.fill_weights import image_u8


@pytest.mark.parametrize(("name", "copies"), [(ORIN, 0), (DESKTOP, 1)])
def test_frame_slot_maps_frames_where_memory_is_shared(on, name, copies):
    with on(name) as run, run.load() as segmenter:
        assert segmenter.pipeline.mapped == (not copies)
        segmenter(IMAGE)
        run.cuda.calls.clear()
        segmenter.detect(IMAGE)
        assert run.cuda.calls["cuMemcpyHtoDAsync"] == copies


def test_frame_slot_uploads_frames_where_that_is_faster(on, monkeypatch):
    spent_ms = {True: 2.0, False: 1.0}
    monkeypatch.setattr("nanoseg.backends.tensorrt.pipeline.frame_buffers._trials_ms", lambda resources: spent_ms)
    with on(ORIN) as run, run.load(confidence=0.2) as segmenter:
        assert not segmenter.pipeline.mapped
        assert len(segmenter(IMAGE)) > 3


def test_frame_slot_reads_device_frames_in_place(on):
    with on(DESKTOP) as run, run.load(confidence=0.2) as segmenter:
        wanted = segmenter(IMAGE), segmenter(OTHER)
        there = [on_gpu(run, image) for image in (IMAGE, OTHER)]
        (one, _), (two, _) = there
        same(segmenter(one), wanted[0])
        same(segmenter(two), wanted[1])
        run.cuda.calls.clear()
        segmenter.detect(one)
        assert run.cuda.calls["cuMemcpyHtoDAsync"] == 0
        same(segmenter(one), wanted[0])
        assert run.cuda.calls["cuMemcpyDtoDAsync"] == 1  # the embedding
        for (_, found), other in zip(
            segmenter.stream([one, two, IMAGE, one]), [*wanted, wanted[0], wanted[0]], strict=True
        ):
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


def test_frame_slot_device_frames_are_refused_on_a_cpu(tiny):
    with nanoseg.load(tiny, "onnxruntime") as segmenter, pytest.raises(UsageError, match="got Stranger"):
        segmenter(Stranger(1, (120, 160, 3), np.uint8))


def test_frame_slot_copies_unaligned_device_frames(on):
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
