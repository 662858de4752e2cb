"""One deployment graph -> one engine, by a recipe."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nanoseg.backends.tensorrt.rtx import RTX, require_user_allocation
from nanoseg.backends.tensorrt.log import error_log, told_why
from nanoseg.backends.tensorrt.build.network import add_profile, parse, spell_api
from nanoseg.backends.tensorrt.build.progress import Report, progress_monitor
from nanoseg.backends.tensorrt.build.interruptible import stoppable
from nanoseg.errors import EngineError
from nanoseg.engines.recipe import Recipe
from nanoseg.engines.record import Profile
from nanoseg.utils.files import write_atomic

_OUT_OF_MEMORY = ("out of memory", "could not be allocated", "bad_alloc", "memoryallocation", "memory is insufficient")
# TensorRT says these when memory runs out, too.
_TOO_LITTLE_WORKSPACE = ("outofmemory", "could not find any implementation", "insufficient workspace")
_FREE_MEMORY = "end the desktop (sudo init 3) and what else runs, or add swap"


@dataclass(frozen=True)
class Built:
    """An engine in memory."""

    plan: bytes
    seconds: float
    device_memory_bytes: int | None  # activations of one context; None: it was not loaded
    profiles: dict[str, Profile]  # by input; those of fixed shape are left out


@dataclass(frozen=True)
class _Job:
    api: Any
    graph: Path | bytes
    name: str
    recipe: Recipe
    timing_cache: Path | None
    report: Report
    load: bool
    stop: threading.Event


def build_engine(
    api: Any,
    graph: Path | bytes,
    recipe: Recipe,
    *,
    name: str = "",
    timing_cache: Path | None = None,
    report: Report = lambda _, __: None,
    load: bool = False,
) -> Built:
    """Build an engine of an ONNX file with `api`, the module tensorrt or tensorrt_rtx; takes seconds to many minutes.

    `name` is for messages, by default the file's. What TensorRT measures is read from `timing_cache` and added to it;
    TensorRT for RTX measures nothing. `report` is called from another thread. With `load` the engine is loaded once,
    which wants the GPU that it is for, and tells its memory. Ctrl-C ends the build at TensorRT's next step and raises
    KeyboardInterrupt; a second one kills the process at once, which leaves nothing half-written either. Raises
    EngineError for a graph that cannot be read or built, and where memory runs out.
    """
    name = name or (graph.name if isinstance(graph, Path) else "graph")
    if recipe.version_compatible and api.__name__ == RTX:
        raise EngineError(f"{recipe.path}: version_compatible: {spell_api(api)} has no such engines; set it to false")

    def work(stop: threading.Event) -> Built:
        return _build(_Job(api, graph, name, recipe, timing_cache, report, load, stop))

    return stoppable(work, lambda: report(0.0, "stopping; Ctrl-C again kills"))


def _build(job: _Job) -> Built:
    api, recipe = job.api, job.recipe
    said: list[str] = []
    log, started = error_log(api, said), time.perf_counter()
    monitor = progress_monitor(api, job.report, job.stop)
    job.report(0.0, "Reading the graph")
    try:
        builder = api.Builder(log)
        network, parser = parse(api, builder, log, said, job.graph, job.name)
        config = builder.create_builder_config()
        _configure(api, config, recipe)
        profiles = add_profile(builder, config, network, recipe, job.name)
        config.progress_monitor = monitor
        if job.timing_cache:
            before = len(said)
            _read_timing_cache(config, job.timing_cache)
            del said[before:]  # what is wrong with a cache is not why a build fails
        plan = None if job.stop.is_set() else builder.build_serialized_network(network, config)
        if job.timing_cache and (plan is not None or job.stop.is_set()):  # what was measured is worth keeping
            _write_timing_cache(config, job.timing_cache)
        content = b"" if plan is None else bytes(plan)
    except EngineError:
        raise
    except Exception as error:  # pybind raises what it likes
        said.append(f"{type(error).__name__}: {error}")
        raise monitor.failed or EngineError(_why(job, said)) from error
    if monitor.failed is not None:
        raise monitor.failed
    if job.stop.is_set():
        raise KeyboardInterrupt
    if plan is None:
        raise EngineError(_why(job, said))
    seconds = time.perf_counter() - started
    del plan, network, parser, config, builder  # their memory is wanted for what comes
    return Built(content, seconds, _device_memory(job, content) if job.load else None, profiles)


def _configure(api: Any, config: Any, recipe: Recipe) -> None:
    config.set_memory_pool_limit(api.MemoryPoolType.WORKSPACE, recipe.workspace_mb << 20)
    config.builder_optimization_level = recipe.optimization_level
    if recipe.tf32:
        config.set_flag(api.BuilderFlag.TF32)
    else:
        config.clear_flag(api.BuilderFlag.TF32)
    if recipe.version_compatible:
        config.set_flag(api.BuilderFlag.VERSION_COMPATIBLE)
    # The pipeline has streams of its own. TensorRT's would want more memory, and a call of another thread on the legacy
    # stream could spoil a capture by way of them.
    config.max_aux_streams = 0
    require_user_allocation(api, config)


def _read_timing_cache(config: Any, path: Path) -> None:
    """Give the builder what an earlier build measured; where that is damaged or of another device, an empty cache."""
    stored = b""
    with suppress(OSError):
        stored = path.read_bytes()
    for content in (stored, b""):
        with suppress(Exception):  # pybind raises what it likes, and no build fails for want of a cache
            if config.set_timing_cache(config.create_timing_cache(content), ignore_mismatch=False):
                return


def _write_timing_cache(config: Any, path: Path) -> None:
    with suppress(Exception):  # as above; a full disk is reported when the engine is written
        write_atomic(path, bytes(config.get_timing_cache().serialize()))


def _device_memory(job: _Job, plan: bytes) -> int:
    """Load the engine once; raises EngineError where it does not load."""
    said: list[str] = []
    log = error_log(job.api, said)
    try:
        runtime = job.api.Runtime(log)
        if job.recipe.version_compatible:
            runtime.engine_host_code_allowed = True  # such an engine brings its runtime along
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is not None:
            return int(engine.device_memory_size_v2)
    except Exception as error:
        said.append(f"{type(error).__name__}: {error}")
    raise EngineError(f"{job.name}: built, but it does not load here: {_advice(job, said)}")


def _why(job: _Job, said: list[str]) -> str:
    return f"{job.name}: {spell_api(job.api)} cannot build it: {_advice(job, said)}"


def _advice(job: _Job, said: list[str]) -> str:
    words, mb = " ".join(said).lower(), job.recipe.workspace_mb
    if any(each in words for each in _OUT_OF_MEMORY):
        return f"out of memory: {told_why(said)}; {_FREE_MEMORY}, or take less: --workspace {max(mb // 2, 1)}"
    if any(each in words for each in _TOO_LITTLE_WORKSPACE):
        more = f"a workspace of {mb} MB is too little, so try --workspace {2 * mb}"
        return f"{told_why(said)}; {more}; or memory ran out: {_FREE_MEMORY}"
    return told_why(said)
