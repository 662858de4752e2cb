"""A fake of TensorRT's Python bindings, with the members that reading a plan uses."""

from __future__ import annotations

import enum
import types


class Severity(enum.Enum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2


class ILogger:
    Severity = Severity
    INTERNAL_ERROR, ERROR, WARNING = Severity


class TensorIOMode(enum.Enum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class DataType(enum.Enum):
    FLOAT = 0
    HALF = 1
    INT8 = 2
    INT32 = 3
    BOOL = 4
    UINT8 = 5
    BF16 = 7
    INT64 = 8


class ICudaEngine:
    def __init__(self, tensors):
        self._tensors = tensors

    @property
    def num_io_tensors(self):
        return len(self._tensors)

    def get_tensor_name(self, index):
        return list(self._tensors)[index]

    def get_tensor_mode(self, name):
        return self._tensors[name][0]

    def get_tensor_dtype(self, name):
        return self._tensors[name][1]

    def get_tensor_shape(self, name):
        return self._tensors[name][2]


CLASSES = (ILogger, TensorIOMode, DataType, ICudaEngine)


def fake_tensorrt(engines, version="10.3.0", starts=True):
    """Return a module that loads `engines`, {plan: {name: (mode, dtype, shape)}}, and logs an error for other plans."""

    class Runtime:
        def __init__(self, logger):
            if not starts:
                raise RuntimeError("CUDA initialization failure\nwith error: 35")
            assert isinstance(logger, ILogger)
            self._logger = logger

        def deserialize_cuda_engine(self, serialized_engine):
            if serialized_engine not in engines:
                self._logger.log(Severity.WARNING, "this is only a warning")
                self._logger.log(Severity.ERROR, "IRuntime::deserializeCudaEngine: Error Code 1:\nmagic tag is wrong")
                return None
            return ICudaEngine(engines[serialized_engine])

    module = types.ModuleType("tensorrt")
    module.__version__ = version
    for kind in (*CLASSES, Runtime):
        setattr(module, kind.__name__, kind)
    return module
