"""The engines of a bundle, one after the other: which are wanted, each built, put into the store with its record."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from nanoseg.backends.tensorrt.build.engine import Built, build_engine
from nanoseg.backends.tensorrt.build.builder import Builder
from nanoseg.commands.build.progress_bar import build_bar
from nanoseg.bundle import Bundle, Graph
from nanoseg.errors import DependencyError
from nanoseg.engines.recipe import Recipe
from nanoseg.engines import Device, EngineRecord, EngineState, RecipeUsed, Store

TIMING_CACHE = "timing.cache"


@dataclass(frozen=True)
class Step:
    """One engine of the bundle."""

    name: str
    graph: Graph
    recipe: Recipe
    there: EngineState | None  # where it needs no building


@dataclass(frozen=True)
class Done:
    """One engine, built now."""

    step: Step
    built: Built
    path: Path | None  # None where it was thrown away
    expanded: bool


@dataclass(frozen=True)
class BundleBuilder:
    """What builds engines, what for, and where they go: nowhere without a device."""

    bundle: Bundle
    builder: Builder
    store: Store
    device: Device | None

    def steps(self, recipes: Mapping[str, Recipe], force: bool) -> Iterator[Step]:
        """Each engine that is wanted; with `force` none counts as being there."""
        states = self.store.read(self.bundle, self.device) if self.device and not force else {}
        for name, recipe in recipes.items():
            state = states.get(name)
            there = state if state is not None and self._fits(state, recipe) else None
            yield Step(name, self.bundle.graphs[name], recipe, there)

    def _fits(self, state: EngineState, recipe: Recipe) -> bool:
        """Whether an engine is what would be built. One made elsewhere, by no recipe of ours, is when it is valid."""
        if not state.valid or state.record is None or self.device is None:
            return False
        # Else it is a version-compatible one of an earlier TensorRT, and one of this will be faster.
        own = state.path.parent == self.store.folder(self.bundle.name, self.device)
        return own and (bool(state.record.origin) or state.record.recipe.sha256 == recipe.sha256)

    def make(self, step: Step, expand: bool) -> Done:
        """Build one and put it into the store; with `expand`, INT8 weights are made floats first.

        Raises EngineError where it cannot be built or written, DependencyError where expanding wants onnx.
        """
        expanded = expand and step.graph.precision == "int8"
        cache = None
        if self.device and self.builder.kind == "tensorrt":  # TensorRT for RTX measures nothing
            cache = self.store.folder(self.bundle.name, self.device) / TIMING_CACHE
        with build_bar(step.name) as report:
            built = build_engine(
                self.builder.api,
                self._expanded(step) if expanded else step.graph.path,
                step.recipe,
                name=step.graph.file,
                timing_cache=cache,
                report=report,
                load=self.device is not None,
            )
        path = None
        if self.device:
            record = _record(step, built, self.device)
            path = self.store.put(self.bundle, self.device, step.name, built.plan, record)
        return Done(step, built, path, expanded)

    def _expanded(self, step: Step) -> bytes:
        try:
            from nanoseg.onnx_graphs.int8.expand_weights import expand_file  # here, so that a Jetson needs no onnx
        except DependencyError as error:
            raise DependencyError(
                f"{step.graph.file}: giving {self.builder} its INT8 weights as floats needs onnx: {error}"
            ) from error
        return expand_file(step.graph.path)


def _record(step: Step, built: Built, device: Device) -> EngineRecord:
    recipe = step.recipe
    return EngineRecord(
        graph=step.name,
        file=f"{step.name}.engine",
        bytes=len(built.plan),
        sha256=hashlib.sha256(built.plan).hexdigest(),
        graph_sha256=step.graph.sha256,
        gpu=device.gpu,
        compute_capability=device.compute_capability,
        tensorrt=device.tensorrt,
        kind=device.kind,
        precision=step.graph.precision,
        recipe=RecipeUsed(recipe.name, recipe.sha256),
        profiles=built.profiles,
        workspace_mb=recipe.workspace_mb,
        tf32=recipe.tf32,
        version_compatible=recipe.version_compatible,
        build_seconds=round(built.seconds, 3),
        built_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        device_memory_bytes=built.device_memory_bytes,
    )
