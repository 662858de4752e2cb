"""A bundle's engines on this machine's GPU: whether they are there, and the pipeline over them."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from nanoseg.backends.device import candidate_devices, closest_device, find_device, find_gpu
from nanoseg.engines import NO_TENSORRT, RUN_WITHOUT_ENGINES, Device, EngineStore, InvalidEngineError
from nanoseg.errors import EngineError

if TYPE_CHECKING:
    from nanoseg.backends.tensorrt.pipeline.pipeline import TrtPipeline
    from nanoseg.bundle import Bundle


class NoEnginesError(EngineError):
    """No TensorRT of this machine has a valid engine for each graph of a bundle.

    `why` is what is said where another backend is taken; `built` tells whether the store has engines for this GPU, or
    some that may be for it where it does not start, which are left unused then; `possible` whether engines are a way
    out here: there are some, or a TensorRT to build them.
    """

    def __init__(self, message: str, why: str = "", *, built: bool, possible: bool = True) -> None:
        super().__init__(message)
        self.why, self.built, self.possible = why or message, built, possible


def open_trt_pipeline(bundle: Bundle, engines: Path | None = None) -> TrtPipeline:
    """The pipeline over the bundle's engines in the store, on the first TensorRT here for which all of them are valid.

    The GPU is asked first: without one, no TensorRT is loaded. Raises NoEnginesError where there is none, with the
    command that builds them, EngineError where they do not load; nothing stays open then.
    """
    gpu = find_gpu()
    try:
        store = EngineStore(engines)
        built = store.list_states(bundle, None)
    except EngineError as error:
        raise NoEnginesError(str(error), built=gpu.has_driver, possible=gpu.has_driver) from error
    if gpu.gpu is None:
        raise _cannot_run(gpu.reason, store, bundle, built=gpu.has_driver and bool(built), possible=gpu.has_driver)
    refused: dict[Device, str] = {}
    for device in candidate_devices(built):
        try:
            return _open(bundle, store, device)
        except InvalidEngineError as error:
            refused[device] = str(error)
    meant = closest_device(refused, built)
    if meant is not None:
        raise NoEnginesError(refused[meant], built=any(state.built_for(meant) for state in built))
    _, why = find_device()
    named = any(state.built_for_gpu(*gpu.gpu) for state in built)
    raise _cannot_run(why, store, bundle, built=named, possible=named or why != NO_TENSORRT)


def _cannot_run(why: str, store: EngineStore, bundle: Bundle, *, built: bool, possible: bool) -> NoEnginesError:
    why = f"tensorrt: {why}"
    hint = f"; {store.info_command(bundle)} tells of each engine"
    return NoEnginesError(f"{why}; {RUN_WITHOUT_ENGINES}", why + hint * built, built=built, possible=possible)


def _open(bundle: Bundle, store: EngineStore, device: Device) -> TrtPipeline:
    for name in bundle.graphs:  # each is refused before any is loaded
        store.check(bundle, name, device)
    from nanoseg.backends.cuda import open_gpu
    from nanoseg.backends.tensorrt.engine import load_engine
    from nanoseg.backends.tensorrt.pipeline.pipeline import TrtPipeline

    with ExitStack() as stack:
        gpu = stack.enter_context(open_gpu())
        loaded = {}
        for name in bundle.graphs:
            loaded[name] = load_engine(store, bundle, name, device, gpu)
            stack.callback(loaded[name].close)
        pipeline = TrtPipeline(bundle, gpu, loaded, str(device))
        stack.pop_all()  # they are the pipeline's now
    return pipeline
