"""This machine's GPU and TensorRT libraries, and which of these a bundle's engines are for."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

from nanoseg.backends.cuda.calls import BindingsCalls, LibcudaCalls, load_bindings
from nanoseg.backends.cuda.driver import CudaError, DeviceProperties, read_properties
from nanoseg.engines import NO_TENSORRT, Device, EngineState, EngineStore, InvalidEngineError, Kind
from nanoseg.engines.device import LIBRARIES
from nanoseg.errors import DependencyError, EngineError, one_line

if TYPE_CHECKING:
    from nanoseg.bundle import Bundle


class GpuResult(NamedTuple):
    """The result of find_gpu()."""

    gpu: tuple[str, tuple[int, int]] | None  # name and compute capability, as engine records spell them
    reason: str  # why there is none
    has_driver: bool  # NVIDIA's driver is installed


class _NotFoundError(Exception):
    """A GPU or library that is missing; never leaves this module."""


def find_gpu() -> GpuResult:
    """Find the GPU in use, without TensorRT and without cuda-bindings; never raises if there is none."""
    try:
        try:
            properties = _gpu_properties()
        except DependencyError:  # without a binding no engine runs, but the driver knows its GPU
            properties = _properties_from_driver()
    except CudaError as error:
        return GpuResult(None, _cuda_reason(error), has_driver=True)
    except EngineError as error:
        return GpuResult(None, str(error), has_driver=False)
    return GpuResult((properties.board, properties.compute_capability), "", has_driver=True)


def find_device(kind: Kind | None = None) -> tuple[Device | None, str]:
    """Find the GPU in use and the first TensorRT library that can be loaded, or the one of `kind`.

    Returns:
        The device and "", or None and the reason, which can follow "not valid here:" in a message. Never raises for
        a missing library or GPU.
    """
    try:
        found, version = _load_first((kind,) if kind else tuple(LIBRARIES))
        gpu, compute_capability = _gpu()
    except _NotFoundError as missing:
        return None, str(missing)
    return Device(gpu, compute_capability, version, found), ""


def candidate_devices(states: Sequence[EngineState]) -> Iterator[Device]:
    """Yield this machine's GPU with each TensorRT that may run any of these engines, else with the first installed.

    Libraries are loaded one by one as this is iterated: NVIDIA wants one in a process
    (github.com/NVIDIA/TensorRT, issue 4339).
    """
    found = False
    for kind in LIBRARIES:
        if any(state.can_run_on(kind) for state in states):
            device, _ = find_device(kind)
            if device is not None:
                found = True
                yield device
    if not found and (first := find_device()[0]):
        yield first


def closest_device(devices: Iterable[Device], states: Sequence[EngineState]) -> Device | None:
    """Return the device that most of these engines were built for, the first of equals; None without devices."""
    return max(
        devices,
        key=lambda device: sum(state.built_for(device) and state.can_run_on(device.kind) for state in states),
        default=None,
    )


def select_device(bundle: Bundle, store: EngineStore) -> tuple[Device | None, str]:
    """Find the device that the TensorRT backend would use for a bundle.

    That is the first with a valid engine for each graph, by their records and sizes, else the one that most engines
    were built for. Raises EngineError where the store cannot be read.

    Returns:
        As find_device().
    """
    states, incomplete = store.list_states(bundle, None), list[Device]()
    for device in candidate_devices(states):
        with suppress(InvalidEngineError):
            for name in bundle.graphs:
                store.check(bundle, name, device)
            return device, ""
        incomplete.append(device)
    closest = closest_device(incomplete, states)
    return (closest, "") if closest else find_device()


def _load_first(kinds: Sequence[Kind]) -> tuple[Kind, str]:
    """Import the first library that loads; returns its kind and version."""
    broken = []
    for kind in kinds:
        module = LIBRARIES[kind].module
        try:
            if module not in sys.modules and find_spec(module) is None:
                continue
            return kind, str(importlib.import_module(module).__version__)
        except Exception as error:  # a library of the system may be missing, and each release fails in its own way
            broken.append(f"{module} cannot be loaded: {one_line(error)}")
    raise _NotFoundError("; ".join(broken) or NO_TENSORRT)


def _gpu() -> tuple[str, tuple[int, int]]:
    """Return name and compute capability of the GPU that is current in this thread, else of the first."""
    try:
        properties = _gpu_properties()
    except DependencyError as error:
        raise _NotFoundError(f"the GPU is not known, as {error}") from error
    except CudaError as error:
        raise _NotFoundError(_cuda_reason(error)) from error
    except EngineError as error:
        raise _NotFoundError(str(error)) from error
    return properties.board, properties.compute_capability


def _cuda_reason(error: CudaError) -> str:
    return f"no GPU that CUDA can use: {error.function} returns {error.code}"


def _gpu_properties() -> DeviceProperties:
    try:
        calls = BindingsCalls(load_bindings())
    except DependencyError:
        properties = _properties_from_driver()  # without a driver or a GPU, installing a binding would not help
        if find_spec("pycuda") is None:  # with pycuda alone, engines run all the same
            raise
        return properties
    calls.initialize()
    return read_properties(calls, calls.device_in_use())


def _properties_from_driver() -> DeviceProperties:
    library = LibcudaCalls()
    library.count()
    return read_properties(library, library.device(0))
