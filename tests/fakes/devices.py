"""A fake of cuda-bindings for finding the GPU."""

import enum
import types

GIB = 1 << 30


class CUresult(enum.IntEnum):
    CUDA_SUCCESS = 0
    CUDA_ERROR_NO_DEVICE = 100
    CUDA_ERROR_INVALID_CONTEXT = 201
    CUDA_ERROR_SYSTEM_DRIVER_MISMATCH = 803


class CUdevice_attribute(enum.IntEnum):  # noqa: N801
    CU_DEVICE_ATTRIBUTE_INTEGRATED = 18
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76


class Driver(types.ModuleType):
    """cuda.bindings.driver, with GPUs (name, compute capability, integrated, memory); `fails` is {function: code}."""

    CUresult, CUdevice_attribute = CUresult, CUdevice_attribute

    def __init__(self, *gpus, current=None, fails=()):
        super().__init__("cuda.bindings.driver")
        self.gpus, self.current, self.fails, self.started = gpus, current, dict(fails), False

    def _answer(self, function, *values):
        assert self.started or function == "cuInit"
        code = self.fails.get(function, CUresult.CUDA_SUCCESS)
        return (code, *(value if code == 0 else None for value in values))

    def cuInit(self, flags):  # noqa: N802
        assert flags == 0
        self.started = True
        return self._answer("cuInit")

    def cuCtxGetDevice(self):  # noqa: N802
        if self.current is None:
            return CUresult.CUDA_ERROR_INVALID_CONTEXT, None
        return self._answer("cuCtxGetDevice", self.current)

    def cuDeviceGet(self, ordinal):  # noqa: N802
        return self._answer("cuDeviceGet", ordinal)

    def cuDeviceGetName(self, length, gpu):  # noqa: N802
        # The binding makes a buffer of blanks; CUDA ends the name in it with a zero.
        return self._answer("cuDeviceGetName", (self.gpus[gpu][0].encode() + b"\0").ljust(length, b" "))

    def cuDeviceGetAttribute(self, attribute, gpu):  # noqa: N802
        _, (major, minor), integrated, _ = self.gpus[gpu]
        return self._answer("cuDeviceGetAttribute", {75: major, 76: minor, 18: int(integrated)}[attribute])

    def cuDeviceTotalMem(self, gpu):  # noqa: N802
        return self._answer("cuDeviceTotalMem", self.gpus[gpu][3])


ORIN = ("Orin", (8, 7), True, 7_987_728_384)
ADA = ("NVIDIA GeForce RTX 4090", (8, 9), False, 25 * GIB)
NO_GPU = CUresult.CUDA_ERROR_NO_DEVICE
