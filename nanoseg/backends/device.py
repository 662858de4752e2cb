"""Which GPU and which TensorRT this machine has."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from nanoseg.backends.cuda.calls import Calls, CudaError, load_bindings
from nanoseg.backends.cuda.device import DeviceFacts, Libcuda, describe
from nanoseg.errors import DependencyError, EngineError, one_line
from nanoseg.store.device import Device, Kind
from nanoseg.store.validity import NO_TENSORRT

LIBRARIES: tuple[Kind, ...] = ("tensorrt", "tensorrt_rtx", "tensorrt_lean")  # the first that can be loaded is used


class _MissingError(Exception):
    """What is not here; never leaves this module."""


def current_device() -> Device | None:
    """The GPU in use and the TensorRT that is installed; None where either is missing. Never raises for that."""
    return look_for_device()[0]


def look_for_device(only: Kind | None = None) -> tuple[Device | None, str]:
    """current_device(), and where that is None, why: in words that can follow "not valid here:".

    `only` is the TensorRT that is meant, where several are installed.
    """
    try:
        kind, version = _tensorrt((only,) if only else LIBRARIES)
        gpu, compute_capability = _gpu()
    except _MissingError as missing:
        return None, str(missing)
    return Device(gpu, compute_capability, version, kind), ""


def _tensorrt(names: Sequence[Kind] = LIBRARIES) -> tuple[Kind, str]:
    broken = []
    for name in names:
        try:
            if name not in sys.modules and find_spec(name) is None:
                continue
            return name, str(importlib.import_module(name).__version__)
        except Exception as error:  # a library of the system may be missing, and each release fails in its own way
            broken.append(f"{name} cannot be loaded: {one_line(error)}")
    raise _MissingError("; ".join(broken) or NO_TENSORRT)


def _gpu() -> tuple[str, tuple[int, int]]:
    """Name and compute capability of the GPU that is current in this thread, else of the first."""
    try:
        facts = _facts()
    except DependencyError as error:
        raise _MissingError(f"the GPU is not known, as {error}") from error
    except CudaError as error:
        raise _MissingError(f"no GPU that CUDA can use: {error.function} answers {error.code}") from error
    except EngineError as error:
        raise _MissingError(str(error)) from error
    return facts.board, facts.compute_capability


def _facts() -> DeviceFacts:
    try:
        calls = Calls(load_bindings())
    except DependencyError:
        library = Libcuda()  # without a driver or a GPU, to install a binding would mend nothing
        library.count()
        if find_spec("pycuda") is None:  # with that alone, engines run all the same
            raise
        return describe(library, library.device(0))
    calls.start()
    return describe(calls, calls.device_in_use())
