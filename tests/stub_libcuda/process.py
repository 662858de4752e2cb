"""What runs on the stub driver, in a process of its own: `python -m tests.stub_libcuda.process laws`."""

from __future__ import annotations

import ctypes
import json
import sys
import traceback
from functools import cache

import numpy as np

from nanoseg.backends.cuda import open_gpu
from nanoseg.errors import NanosegError


def mark(text: str) -> None:
    """Write a line into the stub's trace."""
    ctypes.CDLL("libcuda.so.1").stub_mark(text.encode())


def open_once(wait: str = "auto") -> str:
    """Open the GPU and a captured graph; returns the error's line, or what was opened."""
    try:
        with open_gpu(wait=wait) as gpu:
            stream, block, done = gpu.stream(high=True), gpu.device_buffer(16), gpu.event()
            with stream.capture() as captured:
                gpu.clear(block, stream)
            captured.graph.launch(stream)
            done.record(stream)
            done.synchronize()
            return f"opened {gpu.name} by {gpu.provider}"
    except NanosegError as error:
        return str(error)


def laws() -> dict[str, str]:
    """Hold the laws of every Gpu; returns what is wrong with each."""
    from tests.backends.cuda.laws import ALL

    found = {}
    for name, law in ALL.items():
        try:
            with open_gpu() as gpu:
                law(gpu)
            found[name] = ""
        except Exception:
            found[name] = traceback.format_exc()
    return found


def pipeline(path: str) -> dict[str, object]:
    """Segment frames with a bundle, computed by ONNX Runtime when the work is done; returns what differs from a CPU's.

    The frames of two cameras of different sizes take turns; then come prompts, more than a batch of them.
    """
    import onnxruntime

    import nanoseg
    from nanoseg.bundle import open_bundle
    from nanoseg.segmenter import Segmenter
    from null_engine import open_null_pipeline
    from tests.data.fill_weights import image_u8

    bundle = open_bundle(path)

    @cache
    def session(name: str) -> onnxruntime.InferenceSession:
        return onnxruntime.InferenceSession(bundle.graphs[name].built.path, providers=["CPUExecutionProvider"])

    def compute(name, inputs, outputs):
        results = session(name).run(list(outputs), {each: array.copy() for each, array in inputs.items()})
        for array, result in zip(outputs.values(), results, strict=True):
            array[...] = result

    frames = [image_u8(index, *((120, 160), (150, 200))[index % 2]) for index in range(6)]
    boxes = [[index, 2, index + 20, 30] for index in range(19)]
    points = {"points": [[[5, 6], [8, 9], [1, 1]]], "labels": [[1, 0, 1]]}
    wrong: list[str] = []

    def near(what, got, want):
        # A CPU's frames are resized by OpenCV; what is of another frame, or half done, is farther away.
        if got.shape != want.shape or np.abs(got - want).max() > 0.02 * np.abs(want).max():
            wrong.append(what)

    def compare(what, found, wanted):
        near(f"{what}: logits", found.logits, wanted.logits)
        near(f"{what}: confidence", found.confidence, wanted.confidence)

    with (
        nanoseg.load(path, "onnxruntime", confidence=0.2) as cpu,
        Segmenter(bundle, open_null_pipeline(bundle, open_gpu(), compute), confidence=0.2) as gpu,
    ):
        for round_number in range(3):
            if round_number == 2:
                mark("warm")
            for index, (_, found) in enumerate(gpu.stream(frames)):
                wanted = cpu(frames[index])
                near(f"round {round_number}, frame {index}: boxes", found.xyxy, wanted.xyxy)
                compare(f"round {round_number}, frame {index}", found.masks, wanted.masks)
            found, wanted = gpu(frames[0]), cpu(frames[0])
            compare("single frame", found.masks, wanted.masks)
            assert not any(map(len, (found for _, found in gpu.stream(frames, confidence=0.9999))))
            # A frame that nobody asks about any more.
            gpu.pipeline.start(frames[2], 0.2, 0.7)
            compare("after another", gpu(frames[0]).masks, wanted.masks)
        mark("prompts")
        embedding, on_cpu = gpu.embed(frames[1]), cpu.embed(frames[1])
        compare("boxes", gpu.segment(embedding, boxes=boxes), cpu.segment(on_cpu, boxes=boxes))
        compare("points", gpu.segment(embedding, **points), cpu.segment(on_cpu, **points))
        near("embedding", embedding.array, on_cpu.array)
        del embedding
        not_captured = dict(gpu.pipeline.not_captured)
        gpu.pipeline.start(frames[1], 0.2, 0.7)  # in flight while all is closed
    return {"wrong": wrong, "not_captured": not_captured}


if __name__ == "__main__":
    functions = {"open": open_once, "laws": laws, "pipeline": pipeline}
    print(json.dumps(functions[sys.argv[1]](*sys.argv[2:])))
