"""Arrays on the GPU and back, and those of other libraries."""

import numpy as np

DTYPES = (np.uint8, np.int8, np.float16, np.float32, np.int32, np.int64, np.bool_)


class Stranger:
    """An array of another library."""

    def __init__(self, address, shape, dtype, **more):
        interface = {"shape": shape, "typestr": np.dtype(dtype).str, "data": (address, False), "version": 3}
        self.__cuda_array_interface__ = {**interface, **more}


def send(gpu, array, stream):
    """`array` on the GPU, in a buffer of its own, when `stream` is done; and the pinned memory it comes from."""
    pinned, block = gpu.host_buffer(array.shape, array.dtype), gpu.device_buffer(array.nbytes)
    pinned.array[...] = array
    gpu.copy(block, pinned, stream)
    return block, pinned


def fetch(gpu, source, shape, dtype, stream):
    pinned = gpu.host_buffer(shape, dtype)
    pinned.array[...] = 0
    gpu.copy(pinned, source, stream)
    stream.synchronize()
    return pinned.array.copy()


def move(gpu, block, stream):
    """A little work."""
    gpu.copy(block.view((1,), np.float32, 4), block.view((1,), np.float32), stream)
