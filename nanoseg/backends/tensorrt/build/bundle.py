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
            existing = state if state is not None and self._is_current(state, recipe) else None
            yield BuildStep(name, self.bundle.graphs[name], recipe, existing)

    def _is_current(self, state: EngineState, recipe: Recipe) -> bool:
        """Return whether a build would give the same engine. One of torch2trt, without a recipe, is always current."""
        if not state.valid or state.record is None or self.device is None:
            return False
        # Another folder's is a version-compatible engine of an earlier TensorRT, and one of this version is faster.
        own = state.path.parent == self.store.folder(self.bundle.name, self.device)
        return own and (bool(state.record.origin) or state.record.recipe.sha256 == recipe.sha256)

    def build(self, step: BuildStep, *, expand_int8: bool, progress: ProgressCallback) -> BuiltEngine:
        """Build one engine and put it into the store.

        Args:
            step: which engine.
            expand_int8: give TensorRT INT8 weights as floats.
            progress: called with the fraction done and the current phase, from another thread.

        Raises:
            EngineError: where the engine cannot be built or written.
            DependencyError: where expanding the weights needs onnx.
        """
        expanded = expand_int8 and step.graph.precision == "int8"
        timing_cache = None
        if self.device and self.builder.kind == "tensorrt":  # TensorRT for RTX measures nothing
            timing_cache = self.store.folder(self.bundle.name, self.device) / TIMING_CACHE
        result = build_engine(
            self.builder.api,
            self._expand(step) if expanded else step.graph.path,
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

    def _expand(self, step: BuildStep) -> bytes:
        try:
            from nanoseg.onnx_graphs.int8.expand_weights import expand_file  # here, so that a Jetson needs no onnx
        except DependencyError as error:
            raise DependencyError(
                f"{step.graph.file}: giving {self.builder} its INT8 weights as floats needs onnx: {error}"
            ) from error
        return expand_file(step.graph.path)


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
        precision=step.graph.precision,
        recipe=RecipeReference(recipe.name, recipe.sha256),
        profiles=result.profiles,
        workspace_mb=recipe.workspace_mb,
        tf32=recipe.tf32,
        version_compatible=recipe.version_compatible,
        build_seconds=round(result.seconds, 3),
        built_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        device_memory_bytes=result.device_memory_bytes,
    )
