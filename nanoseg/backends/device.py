"""Which GPU and which TensorRTs this machine has, and which of these is the one for a bundle's engines."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

from nanoseg.backends.cuda.calls import Calls, CudaError, load_bindings
from nanoseg.backends.cuda.device import DeviceFacts, Libcuda, describe
from nanoseg.engines import NO_TENSORRT, Device, EngineState, Kind, NotValidError, Store
from nanoseg.errors import DependencyError, EngineError, one_line

if TYPE_CHECKING:
    from nanoseg.bundle import Bundle

LIBRARIES: tuple[Kind, ...] = ("tensorrt", "tensorrt_rtx", "tensorrt_lean")  # the first that will do is used


class GpuHere(NamedTuple):
    """The GPU in use, asked without TensorRT."""

    named: tuple[str, tuple[int, int]] | None  # name and compute capability, as engines' records tell them
    why: str  # there is none
    driver: bool  # NVIDIA's driver is here


class _MissingError(Exception):
    """What is not here; never leaves this module."""


def look_for_gpu() -> GpuHere:
    """The GPU in use; never raises for what is missing, and wants no cuda-bindings."""
    try:
        try:
            facts = _facts()
        except DependencyError:  # without a binding no engine runs, but the driver knows its GPU
            facts = _facts_by_the_driver()
    except CudaError as error:
        return GpuHere(None, _does_not_start(error), driver=True)
    except EngineError as error:
        return GpuHere(None, str(error), driver=False)
    return GpuHere((facts.board, facts.compute_capability), "", driver=True)


def look_for_device(only: Kind | None = None) -> tuple[Device | None, str]:
    """The GPU in use and the first TensorRT that can be loaded; None where either is missing, and why.

    That is in words that can follow "not valid here:". `only` is the TensorRT that is meant, where several are
    installed. Never raises for what is missing.
    """
    try:
        kind, version = _tensorrt((only,) if only else LIBRARIES)
        gpu, compute_capability = _gpu()
    except _MissingError as missing:
        return None, str(missing)
    return Device(gpu, compute_capability, version, kind), ""


def devices_for(built: Sequence[EngineState]) -> Iterator[Device]:
    """This machine's GPU with each TensorRT that may run any of these engines, else with the first there is.

    One after the other, so that whoever has found what he looks for loads no more of them: NVIDIA wants one in a
    process (github.com/NVIDIA/TensorRT, issue 4339).
    """
    found = False
    for kind in LIBRARIES:
        if any(state.may_run_on(kind) for state in built):
            device, _ = look_for_device(kind)
            if device is not None:
                found = True
                yield device
    if not found and (first := look_for_device()[0]):
        yield first


def nearest(devices: Iterable[Device], built: Sequence[EngineState]) -> Device | None:
    """The device that most engines were built for, the first of several; None of none."""
    return max(
        devices,
        key=lambda device: sum(state.is_for(device) and state.may_run_on(device.kind) for state in built),
        default=None,
    )


def device_for(bundle: Bundle, store: Store) -> tuple[Device | None, str]:
    """look_for_device(), with the TensorRT that a bundle's engines in a store are for.

    That is the one that the backend takes: the first with all of them, by what is known without reading them, else
    the nearest. Raises EngineError where the store cannot be read.
    """
    built, found = store.all(bundle, None), list[Device]()
    for device in devices_for(built):
        with suppress(NotValidError):
            for name in bundle.graphs:
                store.check(bundle, name, device)
            return device, ""
        found.append(device)
    meant = nearest(found, built)
    return (meant, "") if meant else look_for_device()


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
        raise _MissingError(_does_not_start(error)) from error
    except EngineError as error:
        raise _MissingError(str(error)) from error
    return facts.board, facts.compute_capability


def _does_not_start(error: CudaError) -> str:
    return f"no GPU that CUDA can use: {error.function} answers {error.code}"


def _facts() -> DeviceFacts:
    try:
        calls = Calls(load_bindings())
    except DependencyError:
        facts = _facts_by_the_driver()  # without a driver or a GPU, to install a binding would mend nothing
        if find_spec("pycuda") is None:  # with that alone, engines run all the same
            raise
        return facts
    calls.start()
    return describe(calls, calls.device_in_use())


def _facts_by_the_driver() -> DeviceFacts:
    library = Libcuda()
    library.count()
    return describe(library, library.device(0))
