"""A bundle's engines on this machine's GPU: whether they are there, and the chain over them."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from nanoseg.backends.device import devices_for, look_for_device, nearest
from nanoseg.errors import EngineError
from nanoseg.store import NO_TENSORRT, Device, NotValidError, Store

if TYPE_CHECKING:
    from nanoseg.backends.trt_chain.chain import TrtChain
    from nanoseg.bundle import Bundle


class NoEnginesError(EngineError):
    """No TensorRT of this machine has a valid engine for each graph of a bundle.

    `why` is what is said where another backend is taken; `installed` tells whether there is a TensorRT at all, `built`
    whether the store has engines that would be for this GPU, which are left unused then.
    """

    def __init__(self, message: str, why: str = "", *, installed: bool, built: bool) -> None:
        super().__init__(message)
        self.why, self.installed, self.built = why or message, installed, built


def was_built(bundle: Bundle, engines: Path | None = None) -> bool:
    """Whether the store may have any engine of the bundle, for whatever device; asked without loading TensorRT."""
    try:
        store = Store(engines)
    except EngineError:  # this user has no home where one could be
        return False
    try:
        return bool(store.all(bundle, None))
    except EngineError:  # a folder that cannot be read may have some
        return True


def open_trt_chain(bundle: Bundle, engines: Path | None = None) -> TrtChain:
    """The chain over the bundle's engines in the store, on the first TensorRT here for which all of them are valid.

    Raises NoEnginesError where there is none, with the command that builds them, DependencyError without cuda-bindings,
    EngineError where they do not load; nothing stays open then.
    """
    try:
        store = Store(engines)
        built = store.all(bundle, None)
    except EngineError as error:
        raise NoEnginesError(str(error), installed=look_for_device()[1] != NO_TENSORRT, built=True) from error
    refused: dict[Device, str] = {}
    for device in devices_for(built):
        try:
            return _open(bundle, store, device)
        except NotValidError as error:
            refused[device] = str(error)
    meant = nearest(refused, built)
    if meant is not None:
        raise NoEnginesError(refused[meant], installed=True, built=any(state.is_for(meant) for state in built))
    _, why = look_for_device()
    raise NoEnginesError(
        f"tensorrt: {why}; backend onnxruntime runs the bundle without",
        f"tensorrt: {why}; nanoseg doctor tells more",
        installed=why != NO_TENSORRT,
        built=bool(built),
    )


def _open(bundle: Bundle, store: Store, device: Device) -> TrtChain:
    for name in bundle.graphs:  # each is refused before any is loaded
        store.check(bundle, name, device)
    from nanoseg.backends.cuda import open_gpu
    from nanoseg.backends.trt.engine import open_trt
    from nanoseg.backends.trt_chain.chain import TrtChain

    with ExitStack() as stack:
        gpu = stack.enter_context(open_gpu())
        loaded = {}
        for name in bundle.graphs:
            loaded[name] = open_trt(store, bundle, name, device, gpu)
            stack.callback(loaded[name].close)
        chain = TrtChain(bundle, gpu, loaded, str(device))
        stack.pop_all()  # they are the chain's now
    return chain
