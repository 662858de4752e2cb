"""Recipes: the builder's settings for each graph, from the engine store's folder or nanoseg's own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec

from nanoseg.bundle.manifest import Precision
from nanoseg.errors import UsageError
from nanoseg.utils.toml import read_toml

FOLDER = Path(__file__).with_name("recipes")
MAX_WORKSPACE_MB = 1 << 20  # more is a typing error; TensorRT takes bytes in 64 bits
PROMPTS = "prompts"  # the decoder's batch dimension: its workspace grows with it
TILES, TILES_A_PROMPT = "tiles", 32  # of segment_boxes: a quarter of an image of 1024 px for each box

PositiveInt = Annotated[int, msgspec.Meta(ge=1)]
Megabytes = Annotated[int, msgspec.Meta(ge=1, le=MAX_WORKSPACE_MB)]


class DimensionRange(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """[dimensions.NAME]: minimum, optimum and maximum of a dynamic dimension."""

    min: PositiveInt
    opt: PositiveInt
    max: PositiveInt


class RecipeFile(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One recipe file. Every setting is required, so that none is left to a default by mistake."""

    # A number, or pairs (prompts, MB): MB for up to that many prompts.
    workspace_mb: Megabytes | list[tuple[PositiveInt, Megabytes]]
    tf32: bool
    optimization_level: Annotated[int, msgspec.Meta(ge=0, le=5)]
    version_compatible: bool
    precision: Precision | None = None  # the precision it is meant for; the graph itself decides
    dimensions: dict[str, DimensionRange] = {}


@dataclass(frozen=True)
class Recipe:
    """The settings of one build: a recipe with the command line's overrides applied."""

    name: str  # detect.toml
    path: Path
    precision: Precision | None
    workspace_mb: int
    tf32: bool
    optimization_level: int
    version_compatible: bool
    dimensions: Mapping[str, DimensionRange]

    @property
    def sha256(self) -> str:
        """Hash of every setting that changes the engine: not of comments, the path or `precision`."""
        settings = {key: value for key, value in vars(self).items() if key not in ("path", "precision")}
        return hashlib.sha256(msgspec.json.encode(settings, order="sorted")).hexdigest()


@dataclass(frozen=True)
class RecipeOverrides:
    """Settings of the command line that replace a recipe's; None keeps the recipe's."""

    workspace_mb: int | None = None
    max_frame_wh: tuple[int, int] | None = None
    max_prompts: int | None = None


def read_recipe(graph: str, engines: Path | None = None, overrides: RecipeOverrides | None = None) -> Recipe:
    """Read the recipe of a graph: `<engines>/<graph>.toml` where that exists, else nanoseg's own.

    Args:
        graph: name of the graph: prepare, detect, embed, segment, segment_boxes or segment_mask.
        engines: the engine store's folder.
        overrides: settings of the command line.

    Raises:
        UsageError: naming the file and the key that is wrong.
    """
    overrides = overrides or RecipeOverrides()
    name = f"{graph}.toml"
    own = engines / name if engines else None
    path = own if own and own.exists() else FOLDER / name
    if not path.is_file():
        raise UsageError(f"{own or path}: there is no recipe for {graph}; write one: see engines/README.md")
    file = _read(path)
    dimensions = _overridden(file.dimensions, overrides)
    for key, size in dimensions.items():
        if not size.min <= size.opt <= size.max:
            got = f"{size.min}, {size.opt}, {size.max}"
            raise UsageError(f"{path}: dimensions.{key}: wanted min <= opt <= max, got {got}")
    workspace_mb = overrides.workspace_mb or _workspace_mb(path, file.workspace_mb, dimensions)
    return Recipe(
        name,
        path,
        file.precision,
        workspace_mb,
        file.tf32,
        file.optimization_level,
        file.version_compatible,
        dimensions,
    )


def _read(path: Path) -> RecipeFile:
    return read_toml(path, RecipeFile)


def _overridden(dimensions: Mapping[str, DimensionRange], overrides: RecipeOverrides) -> dict[str, DimensionRange]:
    maximum = {}
    if overrides.max_frame_wh:
        maximum["width"], maximum["height"] = overrides.max_frame_wh
    if overrides.max_prompts:
        maximum[PROMPTS] = overrides.max_prompts
        if TILES in dimensions:
            maximum[TILES] = max(dimensions[TILES].max, TILES_A_PROMPT * overrides.max_prompts)
    overridden = dict(dimensions)
    for name in maximum.keys() & dimensions.keys():
        size, new_max = dimensions[name], maximum[name]
        if new_max < size.min:
            flag = "--max-objects" if name == PROMPTS else "--max-frame"
            raise UsageError(f"{flag}: {name}: wanted {size.min} or more, got {new_max}")
        overridden[name] = DimensionRange(size.min, min(size.opt, new_max), new_max)
    return overridden


def _workspace_mb(path: Path, setting: int | list[tuple[int, int]], dimensions: Mapping[str, DimensionRange]) -> int:
    """Return the MB of the first pair that covers the largest batch; beyond the last pair, scale it with the batch."""
    if isinstance(setting, int):
        return setting
    if PROMPTS not in dimensions or not setting:
        raise UsageError(f"{path}: workspace_mb: wanted a number, or pairs beside dimensions.{PROMPTS}")
    largest = dimensions[PROMPTS].max
    pairs = sorted(setting)
    last, last_mb = pairs[-1]
    return next((mb for prompts, mb in pairs if largest <= prompts), -(-last_mb * largest // last))
