"""Build one engine from a deployment graph and a recipe."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nanoseg.backends.tensorrt.build.interruptible import run_interruptible
from nanoseg.backends.tensorrt.build.network import add_profile, format_api, parse
from nanoseg.backends.tensorrt.build.progress import ProgressCallback, progress_monitor
from nanoseg.backends.tensorrt.log import join_messages, make_logger
from nanoseg.backends.tensorrt.plan import PlanError, deserialize
from nanoseg.backends.tensorrt.rtx import RTX, require_user_allocation
from nanoseg.engines.recipe import Recipe
from nanoseg.engines.record import Profile
from nanoseg.errors import EngineError
from nanoseg.utils.files import write_atomic
from nanoseg.utils.regular_file import open_regular

_OUT_OF_MEMORY = ("out of memory", "could not be allocated", "bad_alloc", "memoryallocation", "memory is insufficient")
# TensorRT logs these when memory runs out, too.
_TOO_LITTLE_WORKSPACE = ("outofmemory", "could not find any implementation", "insufficient workspace")
_FREE_MEMORY = "end the desktop (sudo init 3) and what else runs, or add swap"


@dataclass(frozen=True)
class BuildResult:
    """A serialized engine, and what its record needs."""

    plan: bytes
    seconds: float
    device_memory_bytes: int | None  # activations of one context; None where it was not loaded
    profiles: dict[str, Profile]  # by input, without those of fixed shape


@dataclass(frozen=True)
class _BuildArguments:
    """The arguments of one build."""

    api: Any
    graph: Path | bytes
    name: str
    recipe: Recipe
    timing_cache: Path | None
    progress: ProgressCallback
    load: bool
    stop: threading.Event


def build_engine(
    api: Any,
    graph: Path | bytes,
    recipe: Recipe,
    *,
    name: str = "",
    timing_cache: Path | None = None,
    progress: ProgressCallback = lambda _, __: None,
    load: bool = False,
) -> BuildResult:
    """Build an engine from an ONNX file; takes seconds to many minutes.

    Ctrl-C ends the build at TensorRT's next step and raises KeyboardInterrupt; a second one kills the process at once,
    which leaves nothing half-written either.

    Args:
        api: the module tensorrt or tensorrt_rtx.
        graph: the ONNX file, or its content.
        recipe: the builder's settings.
        name: for messages; by default the file's name.
        timing_cache: file with TensorRT's measurements, read and updated; TensorRT for RTX measures nothing.
        progress: called with the fraction done and the current phase, from another thread.
        load: deserialize the engine once, on the GPU that it is for, to read its activation memory.

    Raises:
        EngineError: for a graph that cannot be read or built, and where memory runs out.
    """
    name = name or (graph.name if isinstance(graph, Path) else "graph")
    if recipe.version_compatible and api.__name__ == RTX:
        raise EngineError(f"{recipe.path}: version_compatible: {format_api(api)} has no such engines; set it to false")

    def work(stop: threading.Event) -> BuildResult:
        return _build(_BuildArguments(api, graph, name, recipe, timing_cache, progress, load, stop))

    return run_interruptible(work, lambda: progress(0.0, "stopping; Ctrl-C again kills"))


def _build(arguments: _BuildArguments) -> BuildResult:
    api, recipe = arguments.api, arguments.recipe
    messages: list[str] = []
    logger, started = make_logger(api, messages), time.perf_counter()
    monitor = progress_monitor(api, arguments.progress, arguments.stop)
    arguments.progress(0.0, "Reading the graph")
    try:
        builder = api.Builder(logger)
        network, parser = parse(api, builder, logger, messages, arguments.graph, arguments.name)
        config = builder.create_builder_config()
        configure(api, config, recipe)
        profiles = add_profile(builder, config, network, recipe, arguments.name)
        config.progress_monitor = monitor
        if arguments.timing_cache:
            before = len(messages)
            _read_timing_cache(config, arguments.timing_cache)
            del messages[before:]  # errors of the cache are not why a build fails
        plan = None if arguments.stop.is_set() else builder.build_serialized_network(network, config)
        if arguments.timing_cache and (plan is not None or arguments.stop.is_set()):  # keep what was measured
            _write_timing_cache(config, arguments.timing_cache)
        content = b"" if plan is None else bytes(plan)
    except EngineError:
        raise
    except Exception as error:  # pybind raises what it likes
        messages.append(f"{type(error).__name__}: {error}")
        raise monitor.failed or EngineError(_problem(arguments, messages)) from error
    if monitor.failed is not None:
        raise monitor.failed
    if arguments.stop.is_set():
        raise KeyboardInterrupt
    if plan is None:
        raise EngineError(_problem(arguments, messages))
    seconds = time.perf_counter() - started
    del plan, network, parser, config, builder  # their memory is needed to load the engine
    return BuildResult(content, seconds, _device_memory(arguments, content) if arguments.load else None, profiles)


def configure(api: Any, config: Any, recipe: Recipe) -> None:
    """Set what all engines of a recipe are built with."""
    config.set_memory_pool_limit(api.MemoryPoolType.WORKSPACE, recipe.workspace_mb << 20)
    config.builder_optimization_level = recipe.optimization_level
    if recipe.tf32:
        config.set_flag(api.BuilderFlag.TF32)
    else:
        config.clear_flag(api.BuilderFlag.TF32)
    if recipe.version_compatible:
        config.set_flag(api.BuilderFlag.VERSION_COMPATIBLE)
    # The pipeline has its own streams. TensorRT's auxiliary streams need more memory, and through them a call of
    # another thread on the legacy stream could invalidate a capture.
    config.max_aux_streams = 0
    require_user_allocation(api, config)


def _read_timing_cache(config: Any, path: Path) -> None:
    """Set the timing cache of an earlier build; an empty one where that is damaged or of another device."""
    stored = b""
    with suppress(OSError), open_regular(path) as file:
        stored = file.read()
    for content in (stored, b""):
        with suppress(Exception):  # pybind raises what it likes, and a build needs no cache
            if config.set_timing_cache(config.create_timing_cache(content), ignore_mismatch=False):
                return


def _write_timing_cache(config: Any, path: Path) -> None:
    with suppress(Exception):  # as above; a full disk is reported when the engine is written
        write_atomic(path, bytes(config.get_timing_cache().serialize()))


def _device_memory(arguments: _BuildArguments, plan: bytes) -> int:
    """Load the engine once and return its activation memory; raises EngineError where it does not load."""
    try:
        engine = deserialize(arguments.api, plan, arguments.name, arguments.recipe.version_compatible)
    except PlanError as error:
        reason = _advice(arguments, [error.reason])
        raise EngineError(f"{arguments.name}: built, but it does not load here: {reason}") from error
    return int(engine.device_memory_size_v2)


def _problem(arguments: _BuildArguments, messages: list[str]) -> str:
    return f"{arguments.name}: {format_api(arguments.api)} cannot build it: {_advice(arguments, messages)}"


def _advice(arguments: _BuildArguments, messages: list[str]) -> str:
    """Return TensorRT's messages in one line, and what to do about them where memory ran out."""
    text, mb = " ".join(messages).lower(), arguments.recipe.workspace_mb
    if any(each in text for each in _OUT_OF_MEMORY):
        return f"out of memory: {join_messages(messages)}; {_FREE_MEMORY}, or take less: --workspace {max(mb // 2, 1)}"
    if any(each in text for each in _TOO_LITTLE_WORKSPACE):
        more = f"a workspace of {mb} MB is too little, so try --workspace {2 * mb}"
        return f"{join_messages(messages)}; {more}; or memory ran out: {_FREE_MEMORY}"
    return join_messages(messages)
