"""Frames, and the made-up GPUs that they are given to."""

import pytest

from tests.backends.contract.backends import FAKES
from tests.backends.cuda.arrays import Stranger
from tests.data.fill_weights import image_u8

pytest.importorskip("onnxruntime", reason="needs nanoseg[cpu]")

IMAGE, OTHER = image_u8(1, 120, 160), image_u8(2, 150, 200)
ORIN, DESKTOP, RTX, PYCUDA = FAKES


def on_gpu(run, array):
    """The array in the made-up GPU's memory, by another library in the same process: torch, say."""
    driver = run.cuda.module
    _, address = driver.cuMemAlloc(array.nbytes)
    run.cuda.array(int(address), array.shape, array.dtype)[...] = array
    return Stranger(int(address), array.shape, array.dtype), lambda: driver.cuMemFree(address)
