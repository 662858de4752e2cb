"""Serialized engines: load TensorRT, deserialize a plan, and read its inputs and outputs."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nanoseg.backends.cuda.driver import MEMORY_HINT
from nanoseg.backends.tensorrt.log import join_messages, shared_logger
from nanoseg.engines.device import BUILDERS, LIBRARIES, Kind
from nanoseg.errors import DependencyError, EngineError, one_line

_NUMPY_NAMES = {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16"}  # others are numpy's in capitals


class PlanError(EngineError):
    """TensorRT cannot deserialize a plan on this device; `reason` is its own message."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class PlanTensor:
    """One input or output of an engine."""

    name: str
    dtype: str  # numpy's name
    shape: tuple[int | None, ...]  # None is a dynamic dimension
    is_input: bool


@dataclass(frozen=True)
class PlanDescription:
    """The inputs and outputs of a serialized engine, in its own order, and the library that loaded it."""

    tensors: tuple[PlanTensor, ...]
    library: str  # the module's name
    version: str

    def names(self, inputs: bool) -> tuple[str, ...]:
        """Return the names of the inputs, or of the outputs."""
        return tuple(tensor.name for tensor in self.tensors if tensor.is_input == inputs)


def describe_plan(plan: bytes, name: str = "engine") -> PlanDescription:
    """Load a serialized engine with the first TensorRT installed; `name` is for messages.

    Raises EngineError where it cannot be loaded on this device, DependencyError without TensorRT.
    """
    api = load_library()
    return PlanDescription(read_tensors(api, deserialize(api, plan, name)), api.__name__, api.__version__)


def deserialize(api: Any, plan: bytes, name: str, version_compatible: bool = False) -> Any:
    """Load a plan onto the GPU whose context is current in this thread.

    Args:
        api: the module tensorrt, tensorrt_lean or tensorrt_rtx.
        plan: the serialized engine.
        name: the engine's name, for messages.
        version_compatible: let the plan run the host code that it contains; only for plans of a trusted source.

    Returns:
        An ICudaEngine of `api`.

    Raises:
        PlanError: with TensorRT's message.
    """
    version = f"{api.__name__} {api.__version__}"
    logger, log = shared_logger(api)
    mark = log.mark()
    try:
        runtime = api.Runtime(logger)
        if version_compatible:
            runtime.engine_host_code_allowed = True
        engine = runtime.deserialize_cuda_engine(plan)
    except Exception as error:  # pybind raises what it likes where there is no GPU
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise PlanError(f"{name}: {version} cannot start on this device: {one_line(error)}", reason) from error
    if engine is None:
        reason = log.reason(mark)
        raise PlanError(f"{name}: {version} cannot load this engine: {reason}; {_advice(reason)}", reason)
    return engine


def read_tensors(api: Any, engine: Any) -> tuple[PlanTensor, ...]:
    """Return the inputs and outputs of an ICudaEngine of `api`, in its own order."""
    names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    return tuple(
        PlanTensor(
            each,
            _dtype(engine.get_tensor_dtype(each)),
            tuple(None if dim < 0 else int(dim) for dim in engine.get_tensor_shape(each)),
            engine.get_tensor_mode(each) == api.TensorIOMode.INPUT,
        )
        for each in names
    )


def load_library(kinds: Sequence[Kind] = BUILDERS) -> Any:
    """Import the first of these TensorRT libraries that is installed.

    Raises DependencyError where it cannot be loaded, or none is installed.
    """
    for kind in kinds:
        module = LIBRARIES[kind].module
        try:
            return importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise DependencyError(f"{module} cannot be loaded: {error}") from error
        except Exception as error:  # a library of the system may be missing, and each release fails in its own way
            raise DependencyError(f"{module} cannot be loaded: {join_messages([str(error)])}") from error
    raise DependencyError(
        "TensorRT is not installed: JetPack brings it (apt install python3-libnvinfer; a virtual environment needs "
        "--system-site-packages), elsewhere: pip install tensorrt, or tensorrt-rtx-cu12"
    )


def _advice(reason: str) -> str:
    if "out of memory" in reason.lower():
        return MEMORY_HINT
    if "cudaerror" in reason.lower():  # the driver's fault, not the plan's
        return "run nanoseg doctor to see what is missing"
    return "an engine is for one TensorRT and one GPU, and whole: build it on this device"


def _dtype(dtype: Any) -> str:
    return _NUMPY_NAMES.get(dtype.name, str(dtype.name).lower())
