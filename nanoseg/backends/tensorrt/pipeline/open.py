"""Opening the pipeline over a bundle's engines on this machine's GPU."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from nanoseg.backends.find_device import candidate_devices, closest_device, find_device, find_gpu
from nanoseg.backends.tensorrt.pipeline.settings import Settings
from nanoseg.bundle.manifest import INSTEAD
from nanoseg.engines import NO_TENSORRT, RUN_WITHOUT_ENGINES, Device, EngineStore, InvalidEngineError
from nanoseg.errors import EngineError

if TYPE_CHECKING:
    from nanoseg.backends.tensorrt.pipeline.pipeline import TrtPipeline
    from nanoseg.bundle import Bundle


class NoEnginesError(EngineError):
    """No TensorRT of this machine has a valid engine for each graph of a bundle."""

    def __init__(self, message: str, reason: str = "", *, built: bool, possible: bool = True) -> None:
        """Describe what is missing.

        Args:
            message: For a user who selected the backend tensorrt.
            reason: For a user who gets another backend instead; by default the message.
            built: Whether the store has engines for this GPU, or may have where the GPU does not start.
            possible: Whether engines could run here: there are some, or a TensorRT to build them.
        """
        super().__init__(message)
        self.reason, self.built, self.possible = reason or message, built, possible


def open_trt_pipeline(bundle: Bundle, engines: Path | None = None) -> TrtPipeline:
    """Open the pipeline on the first TensorRT of this machine for which all of the bundle's engines are valid.

    Where that of a graph in INSTEAD is not, something else does its work, and the logger "nanoseg" says so: one that
    TensorRT refuses to build is no reason to do without the others. The GPU is looked for first: without one, no
    TensorRT is loaded.

    Args:
        bundle: The bundle.
        engines: Folder of the engine store, by default that of engines_folder().

    Raises:
        NoEnginesError: Where there is none, with the command that builds the engines.
        EngineError: Where the engines do not load; nothing stays open then.
        UsageError: For a value in the environment that is none of a setting.
    """
    gpu = find_gpu()
    try:
        store = EngineStore(engines)
        built = store.list_states(bundle, None)
    except EngineError as error:
        raise NoEnginesError(str(error), built=gpu.has_driver, possible=gpu.has_driver) from error
    if gpu.gpu is None:
        raise _no_engines(gpu.reason, store, bundle, built=gpu.has_driver and bool(built), possible=gpu.has_driver)
    invalid: dict[Device, str] = {}
    for device in candidate_devices(built):
        try:
            return _open(bundle, store, device)
        except InvalidEngineError as error:
            invalid[device] = str(error)
    closest = closest_device(invalid, built)
    if closest is not None:
        raise NoEnginesError(invalid[closest], built=any(state.built_for(closest) for state in built))
    _, reason = find_device()
    built_here = any(state.built_for_gpu(*gpu.gpu) for state in built)
    raise _no_engines(reason, store, bundle, built=built_here, possible=built_here or reason != NO_TENSORRT)


def _no_engines(reason: str, store: EngineStore, bundle: Bundle, *, built: bool, possible: bool) -> NoEnginesError:
    reason = f"tensorrt: {reason}"
    hint = f"; {store.info_command(bundle)} lists each engine" if built else ""
    return NoEnginesError(f"{reason}; {RUN_WITHOUT_ENGINES}", reason + hint, built=built, possible=possible)


def _open(bundle: Bundle, store: EngineStore, device: Device) -> TrtPipeline:
    settings, invalid = Settings.of(), dict[str, InvalidEngineError]()
    for name in bundle.graphs:  # all are checked before any is loaded
        try:
            store.check(bundle, name, device)
        except InvalidEngineError as error:
            invalid[name] = error
    if invalid.keys() - INSTEAD.keys():
        raise next(iter(invalid.values()))
    for name, why in invalid.items():
        logging.getLogger("nanoseg").warning("%s: %s: %s", bundle.name, INSTEAD[name], why)
    names = [name for name in bundle.graphs if name not in invalid]
    from nanoseg.backends.cuda import open_gpu
    from nanoseg.backends.tensorrt.engine import load_engine
    from nanoseg.backends.tensorrt.pipeline.pipeline import TrtPipeline

    with ExitStack() as stack:
        gpu = stack.enter_context(open_gpu(wait=settings.wait))
        engines = {}
        for name in names:
            engines[name] = load_engine(store, bundle, name, device, gpu)
            stack.callback(engines[name].close)
        pipeline = TrtPipeline(bundle, gpu, engines, str(device), settings.graphs)
        for engine in engines.values():
            engine.save_kernels()  # of the warm-up
        stack.pop_all()  # they are the pipeline's now
    return pipeline
