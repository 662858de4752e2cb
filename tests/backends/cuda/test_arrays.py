"""Arrays of other libraries: which are taken, which not, and what is waited for."""

import numpy as np
import pytest

from nanoseg.backends.cuda import open_gpu
from nanoseg.errors import EngineError
from tests.backends.cuda.arrays import Stranger

BROKEN = {"shape": (2, 3), "typestr": "<f4", "data": (4096, False), "version": 3}


@pytest.mark.parametrize(
    ("interface", "match"),
    [
        (None, "wanted an array on the GPU, with __cuda_array_interface__; this has none"),
        ({**BROKEN, "strides": (4, 8)}, r"wanted a C-contiguous array, got strides \(4, 8\) for float32 \(2, 3\)"),
        ({**BROKEN, "strides": (24, 4)}, r"wanted a C-contiguous array, got strides \(24, 4\)"),
        ({**BROKEN, "mask": object()}, "wanted a plain array, got a masked one"),
        ({**BROKEN, "shape": (0, 3)}, "it is empty"),
        ({**BROKEN, "data": (0, False)}, "it is empty"),
        ({**BROKEN, "stream": 0}, "its stream is 0, which the interface forbids"),
        ({**BROKEN, "typestr": "what"}, "its __cuda_array_interface__ is broken"),
        ({"shape": (2, 3)}, "its __cuda_array_interface__ is broken: KeyError"),
        (
            RuntimeError("Can't get it on\nVariable that requires grad"),
            "its __cuda_array_interface__ cannot be read: Can't get it on Var",
        ),
    ],
)
def test_wrap_refuses_arrays(interface, match, fake):
    class Frame:
        @property
        def __cuda_array_interface__(self):
            if isinstance(interface, Exception):
                raise interface
            if interface is None:
                raise AttributeError
            return interface

    with open_gpu() as gpu, pytest.raises(EngineError, match=f"^Frame: .*{match}") as error:
        gpu.wrap(Frame())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("strides", [None, (12, 4), (99, 4)])
def test_wrap_accepts_contiguous_strides(strides, fake):
    rows = 1 if strides == (99, 4) else 2  # the stride of a side of one says nothing
    with open_gpu() as gpu, gpu.device_buffer(24) as block:
        seen = gpu.wrap(Stranger(block.address, (rows, 3), np.float32, strides=strides))
        assert seen.nbytes == rows * 12


@pytest.mark.parametrize(("version", "waits"), [(2, True), (3, False)])
def test_wrap_waits_for_default_stream_before_version_3(version, waits, fake):
    with open_gpu() as gpu, gpu.device_buffer(24) as block, gpu.stream() as stream:
        fake.calls.clear()
        gpu.wrap(Stranger(block.address, (2, 3), np.float32, version=version), stream)
        assert fake.calls["cuStreamWaitEvent"] == waits
