"""TensorRT, and TensorRT for RTX: what a serialized engine holds."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nanoseg.backends.cuda.driver import MEMORY_HINT
from nanoseg.backends.tensorrt.log import runtime_log, told_why
from nanoseg.errors import DependencyError, EngineError, one_line

LIBRARIES = ("tensorrt", "tensorrt_rtx")  # the same API; the first that is installed is used
_NUMPY_NAMES = {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16"}  # others are numpy's in capitals


@dataclass(frozen=True)
class PlanTensor:
    """One input or output of an engine; None is a side that may vary."""

    name: str
    dtype: str  # numpy's name
    shape: tuple[int | None, ...]
    is_input: bool


@dataclass(frozen=True)
class PlanDescription:
    """What a serialized engine takes and gives, in its own order."""

    tensors: tuple[PlanTensor, ...]
    library: str  # one of LIBRARIES
    version: str  # of the library that could load it

    def names(self, inputs: bool) -> tuple[str, ...]:
        """Names of the inputs, or of the outputs."""
        return tuple(tensor.name for tensor in self.tensors if tensor.is_input == inputs)


def describe(plan: bytes, name: str = "engine") -> PlanDescription:
    """Load a serialized engine on this device and say what it holds; `name` is for messages.

    Raises EngineError where it cannot be loaded here, DependencyError without TensorRT.
    """
    library = load_library()
    return PlanDescription(
        read_tensors(library, deserialize(library, plan, name)), library.__name__, library.__version__
    )


def deserialize(api: Any, plan: bytes, name: str, version_compatible: bool = False) -> Any:
    """The engine of a plan, loaded onto the GPU whose context is current in this thread.

    A version-compatible one brings code of its own along, which runs here. Raises EngineError with TensorRT's words.
    """
    version = f"{api.__name__} {api.__version__}"
    log, words = runtime_log(api)
    before = words.mark()
    try:
        runtime = api.Runtime(log)
        if version_compatible:
            runtime.engine_host_code_allowed = True
        engine = runtime.deserialize_cuda_engine(plan)
    except Exception as error:  # pybind raises what it likes where there is no GPU
        raise EngineError(f"{name}: {version} cannot start on this device: {one_line(error)}") from error
    if engine is None:
        why = words.since(before)
        raise EngineError(f"{name}: {version} cannot load this engine: {why}; {_advice(why)}")
    return engine


def read_tensors(api: Any, engine: Any) -> tuple[PlanTensor, ...]:
    """The inputs and outputs of an engine of `api`, in its own order."""
    names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    return tuple(
        PlanTensor(
            each,
            _dtype(engine.get_tensor_dtype(each)),
            tuple(None if side < 0 else int(side) for side in engine.get_tensor_shape(each)),
            engine.get_tensor_mode(each) == api.TensorIOMode.INPUT,
        )
        for each in names
    )


def load_library(names: Sequence[str] = LIBRARIES) -> Any:
    """The module of the first that is installed; raises DependencyError where it cannot be loaded, or none is."""
    for name in names:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise DependencyError(f"{name} cannot be loaded: {error}") from error
        except Exception as error:  # a library of the system may be missing, and each release fails in its own way
            raise DependencyError(f"{name} cannot be loaded: {told_why([str(error)])}") from error
    raise DependencyError(
        "TensorRT is not installed: JetPack brings it (apt install python3-libnvinfer; a virtual environment needs "
        "--system-site-packages), elsewhere: pip install tensorrt, or tensorrt-rtx-cu12"
    )


def _advice(why: str) -> str:
    if "out of memory" in why.lower():
        return MEMORY_HINT
    if "cudaerror" in why.lower():  # the driver's answer, not the plan's fault
        return "nanoseg doctor tells what is missing"
    return "an engine is for one TensorRT and one GPU, and whole: build it on this device"


def _dtype(kind: Any) -> str:
    return _NUMPY_NAMES.get(kind.name, str(kind.name).lower())
