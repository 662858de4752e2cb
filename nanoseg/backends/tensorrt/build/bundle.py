"""Build the engines of a bundle: choose which need a build, build each, and put it into the store with its record."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from nanoseg.backends.tensorrt.build.builder import Builder
from nanoseg.backends.tensorrt.build.engine import BuildResult, build_engine
from nanoseg.backends.tensorrt.build.progress import ProgressCallback
from nanoseg.bundle import Bundle, Graph
from nanoseg.bundle.manifest import Precision
from nanoseg.engines import Device, EngineRecord, EngineState, EngineStore, RecipeReference
from nanoseg.engines.recipe import Recipe
from nanoseg.errors import DependencyError

TIMING_CACHE = "timing.cache"


@dataclass(frozen=True)
class BuildStep:
    """One engine of a bundle to build, or to keep."""

    name: str
    graph: Graph
    recipe: Recipe
    precision: Precision  # of the engine
    existing: EngineState | None  # the store's engine where none needs to be built


@dataclass(frozen=True)
class BuiltEngine:
    """One engine that was built by this command."""

    step: BuildStep
    result: BuildResult
    path: Path | None  # None in a dry run
    int8_expanded: bool


@dataclass(frozen=True)
class BundleBuilder:
    """Builds a bundle's engines into a store; without a device it builds and stores nothing (a dry run)."""

    bundle: Bundle
    builder: Builder
    store: EngineStore
    device: Device | None

    def steps(self, recipes: Mapping[str, Recipe], force: bool) -> Iterator[BuildStep]:
        """Yield a step for each recipe's graph; with `force`, existing engines are ignored."""
        states = self.store.best_states(self.bundle, self.device) if self.device and not force else {}
        for name, recipe in recipes.items():
            state = states.get(name)
            graph = self.bundle.graphs[name].built
            # TensorRT for RTX fuses no INT8 convolution: each writes float32, which a second kernel quantizes.
            is_fp16 = graph.precision == "int8" and self.builder.kind == "tensorrt-rtx"
            precision: Precision = "fp16" if is_fp16 else graph.precision
            existing = state if state is not None and self._is_current(state, recipe, precision) else None
            yield BuildStep(name, graph, recipe, precision, existing)

    def _is_current(self, state: EngineState, recipe: Recipe, precision: Precision) -> bool:
        """Return whether a build would give the same engine. One of torch2trt, without a recipe, is always current."""
        if not state.valid or state.record is None or self.device is None:
            return False
        # Another folder's is a version-compatible engine of an earlier TensorRT, and one of this version is faster.
        own = state.path.parent == self.store.folder(self.bundle.name, self.device)
        made = state.record.recipe.sha256, state.record.precision
        return own and (bool(state.record.origin) or made == (recipe.sha256, precision))

    def build(self, step: BuildStep, *, expand_int8: bool, progress: ProgressCallback) -> BuiltEngine:
        """Build one engine and put it into the store.

        A dry run checks a bundle, mostly for another machine's TensorRT: it also builds the file of a graph that this
        one builds in another precision.

        Args:
            step: which engine.
            expand_int8: give TensorRT INT8 weights as floats.
            progress: called with the fraction done and the current phase, from another thread.

        Raises:
            EngineError: where the engine cannot be built or written.
            DependencyError: where converting the graph needs onnx.
        """
        is_converted, expanded = step.precision != step.graph.precision, expand_int8 and step.precision == "int8"
        graph: Path | bytes = step.graph.path
        if is_converted or expanded:
            graph = self._convert(step)
        timing_cache = None
        if self.device and self.builder.kind == "tensorrt":  # TensorRT for RTX measures nothing
            timing_cache = self.store.folder(self.bundle.name, self.device) / TIMING_CACHE
        if is_converted and self.device is None:
            build_engine(self.builder.api, step.graph.path, step.recipe, name=step.graph.file, progress=progress)
        result = build_engine(
            self.builder.api,
            graph,
            step.recipe,
            name=step.graph.file,
            timing_cache=timing_cache,
            progress=progress,
            load=self.device is not None,
        )
        path = None
        if self.device:
            record = _record(step, result, self.device)
            path = self.store.put(self.bundle, self.device, step.name, result.plan, record)
        return BuiltEngine(step, result, path, expanded)

    def _convert(self, step: BuildStep) -> bytes:
        """Return the graph in the engine's precision; one in INT8 with its weights expanded."""
        is_int8 = step.precision == "int8"
        try:  # here, so that a Jetson needs no onnx
            if is_int8:
                from nanoseg.onnx_graphs.int8.expand_weights import expand_file

                return expand_file(step.graph.path)
            from nanoseg.onnx_graphs.deploy.float16 import float16_graph

            return float16_graph(step.graph.path)
        except DependencyError as error:
            given = "its INT8 weights as floats" if is_int8 else "an INT8 graph in FP16"
            raise DependencyError(f"{step.graph.file}: giving {self.builder} {given} needs onnx: {error}") from error


def _record(step: BuildStep, result: BuildResult, device: Device) -> EngineRecord:
    recipe = step.recipe
    return EngineRecord(
        graph=step.name,
        file=f"{step.name}.engine",
        bytes=len(result.plan),
        sha256=hashlib.sha256(result.plan).hexdigest(),
        graph_sha256=step.graph.sha256,
        gpu=device.gpu,
        compute_capability=device.compute_capability,
        tensorrt=device.tensorrt,
        kind=device.kind,
        precision=step.precision,
        recipe=RecipeReference(recipe.name, recipe.sha256),
        profiles=result.profiles,
        workspace_mb=recipe.workspace_mb,
        tf32=recipe.tf32,
        version_compatible=recipe.version_compatible,
        build_seconds=round(result.seconds, 3),
        built_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        device_memory_bytes=result.device_memory_bytes,
    )
