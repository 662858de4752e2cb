"""A bundle's engines on this machine's GPU: whether they are there, and the chain over them."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from nanoseg.backends.device import current_device, look_for_device
from nanoseg.errors import EngineError
from nanoseg.store import Store

if TYPE_CHECKING:
    from nanoseg.backends.trt_chain.chain import TrtChain
    from nanoseg.bundle import Bundle


def are_all_built(bundle: Bundle, engines: Path | None = None) -> bool:
    """Whether the store has a valid engine for each graph of the bundle, for this device. Never raises for that."""
    try:
        store = Store(engines)
        if not store.all(bundle, None):  # nothing was ever built: so TensorRT need not be loaded to know
            return False
        device = current_device()
        return device is not None and all(state.valid for state in store.read(bundle, device).values())
    except EngineError:  # a folder that cannot be read, or no home to have one in
        return False


def open_trt_chain(bundle: Bundle, engines: Path | None = None) -> TrtChain:
    """The chain over the bundle's engines in the store, on this device.

    Raises EngineError where there is no GPU or no valid engine, with the command that builds it, DependencyError
    without TensorRT or cuda-bindings; nothing stays open then.
    """
    store = Store(engines)
    device, why = look_for_device()
    if device is None:
        raise EngineError(f"tensorrt: {why}; backend onnxruntime runs the bundle without")
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
