"""Many frames take nothing new, and a frame takes nothing as large as itself, on every backend."""

import tracemalloc

import pytest

from nanoseg.sources.simulator.line import SimulatedLine
from tests.backends.contract.backends import ON_CUDA, REAL
from tests.backends.contract.held import Held
from tests.data.fill_weights import image_u8

IMAGES = [image_u8(i, 120 + 8 * i, 160) for i in range(3)]
# A frame of these takes 1.2 ms on ONNX Runtime and 1.5 to 2 ms on a made-up GPU, so that most do the long run in one of
# the two kinds. TensorRT for RTX does none: its stand-in is that of 11.4 but for how contexts are made.
LONG = {
    "onnxruntime": "call",
    ON_CUDA: "stream",
    "tensorrt 10.3 on an Orin": "stream",
    "tensorrt 11.4": "call",
    "tensorrt with pycuda": "stream",
}


def handler(segmenter, kind):
    """The function from frames to detections, by calls or as a stream."""
    if kind == "call":
        return lambda frames: map(segmenter, frames)
    return lambda frames: (found for _, found in segmenter.stream(frames))


@pytest.mark.parametrize("count", [1000, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["call", "stream"])
def test_segmenter_memory_is_constant_over_many_frames(request, run, kind, count):
    """Not of the GPU, nor of the host: neither objects of Python's, nor what libraries allocate."""
    name = request.node.callspec.params["run"]
    if count > 1000 and not name.startswith("real") and LONG.get(name) != kind:
        pytest.skip("its long run is that of another kind or stand-in")
    frames = [IMAGES[i % 3] for i in range(count)]
    if run.trt is not None:
        run.trt.seen = {}  # what a made-up GPU computes is not the matter
    with run.load(confidence=0.2) as segmenter:
        gpu = segmenter.pipeline._resources.gpu if run.on_gpu else None
        # On a board it is the system's memory, which others take from and give back.
        measured = gpu is not None and run.cuda is None and not gpu.integrated
        handle = handler(segmenter, kind)
        for found in handle(frames[:12]):
            assert len(found)
        before = run.memory(segmenter)
        for number, found in enumerate(handle(frames)):
            segmenter.max_objects = number % 13 + 1  # each with each size, in the first 39
            assert len(found)
            if number == count // 10:
                held, free = Held.now(), gpu.free_bytes() if measured else 0
        assert run.memory(segmenter) == before
        blocks, resident = (now - then for now, then in zip(Held.now(), held, strict=True))
        assert blocks < 1000, f"{blocks} blocks of Python's are held that were not"  # 500 come and go in the stand-ins
        assert resident < 5e6, f"{resident} bytes are held that were not"
        assert not measured or free - gpu.free_bytes() < 32e6  # the library's own, and perhaps another program's


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
def test_segmenter_allocates_less_than_a_frame(run, kind):
    frames = [image_u8(i, *LARGE_HW) for i in range(3)]
    with run.load(confidence=0.2, max_objects=8) as segmenter:  # one call of the decoder: what several give is joined
        handle = handler(segmenter, kind)
        assert all(len(found) > 3 for found in handle(frames))
        most, count = most_taken(iter(handle(frames[i % 3] for i in range(101))))
    assert count == 100
    assert most < LARGE_HW[0] * LARGE_HW[1] / 4  # a twelfth of the frame


@pytest.mark.parametrize("run_parts", ["onnxruntime", REAL], indirect=True)
def test_segmenter_allocates_less_than_the_networks_inputs(run_parts):
    line = SimulatedLine(5, size_wh=LARGE_HW[::-1])
    frames = [line.frame(20 + i).image for i in range(5)]
    with run_parts.load(max_objects=8) as segmenter:
        found = segmenter(frames[0])
        assert len(found) > 3
        most, _ = most_taken(map(segmenter, frames))
    assert most < LARGE_HW[0] * LARGE_HW[1] / 4 + found.masks.logits[:1].nbytes * 16  # the result, and its prompts'
