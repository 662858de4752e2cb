"""Runs benchmarks/torch_engine.py on a fake GPU, by torch on the host."""

import numpy as np
import torch


class FakeRunner:
    """Enqueues work on a stream of a FakeCuda."""

    device = "cpu"
    capture_refusal = ""

    def __init__(self, cuda) -> None:
        self._cuda = cuda

    def enqueue(self, handle, work, reads, writes) -> None:
        def tensor(window, binding):
            array = window.array(*binding)  # read-only where the work only reads it, which torch has no notion of
            return torch.from_numpy(array if array.flags.writeable else array.copy())

        def run(window):
            with torch.inference_mode():
                work(lambda *binding: tensor(window, binding))

        sizes = [
            [(address, int(np.prod(shape)) * np.dtype(dtype).itemsize) for address, shape, dtype in bindings]
            for bindings in (reads, writes)
        ]
        self._cuda.enqueue(handle, run, *sizes)
