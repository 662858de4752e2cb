"""How each graph is built: one TOML file a graph, in the folder of the engines where there is one, else beside this."""

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
MOST_MB = 1 << 20  # a slip of the finger, not a workspace; TensorRT takes bytes in 64 bits
PROMPTS = "prompts"  # the decoder's number of prompts, whose memory grows with it

Count = Annotated[int, msgspec.Meta(ge=1)]
Megabytes = Annotated[int, msgspec.Meta(ge=1, le=MOST_MB)]


class Range(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """[dimensions.NAME]: how long a side may be, and how long it mostly is."""

    min: Count
    opt: Count
    max: Count


class RecipeFile(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The whole of one recipe. A key that is missing is an error, so that none is set by chance."""

    workspace_mb: Megabytes | list[tuple[Count, Megabytes]]  # or pairs: up to so many prompts, so many MB
    tf32: bool
    optimization_level: Annotated[int, msgspec.Meta(ge=0, le=5)]
    version_compatible: bool
    precision: Precision | None = None  # what the graph should be in; the graph says what it is in
    dimensions: dict[str, Range] = {}


@dataclass(frozen=True)
class Recipe:
    """A recipe with what the command line changed of it."""

    name: str  # detect.toml
    path: Path
    precision: Precision | None
    workspace_mb: int
    tf32: bool
    optimization_level: int
    version_compatible: bool
    dimensions: Mapping[str, Range]

    @property
    def sha256(self) -> str:
        """Of all that makes another engine; comments, and what the graph should be, do not."""
        told = {key: value for key, value in vars(self).items() if key not in ("path", "precision")}
        return hashlib.sha256(msgspec.json.encode(told, order="sorted")).hexdigest()


@dataclass(frozen=True)
class Changes:
    """What the command line says instead of a recipe."""

    workspace_mb: int | None = None
    max_frame_wh: tuple[int, int] | None = None
    max_prompts: int | None = None


def read_recipe(graph: str, engines: Path | None = None, changes: Changes | None = None) -> Recipe:
    """The recipe of a graph: `<engines>/<graph>.toml` where there is one, else nanoseg's own.

    Raises UsageError with the path of the key.
    """
    changes = changes or Changes()
    name = f"{graph}.toml"
    own = engines / name if engines else None
    path = own if own and own.is_file() else FOLDER / name
    if not path.is_file():
        raise UsageError(f"{own or path}: there is no recipe for {graph}; write one: see engines/README.md")
    file = _read(path)
    dimensions = _changed(file.dimensions, changes)
    for key, side in dimensions.items():
        if not side.min <= side.opt <= side.max:
            got = f"{side.min}, {side.opt}, {side.max}"
            raise UsageError(f"{path}: dimensions.{key}: wanted min <= opt <= max, got {got}")
    workspace_mb = changes.workspace_mb or _workspace(path, file.workspace_mb, dimensions)
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


def _changed(dimensions: Mapping[str, Range], changes: Changes) -> dict[str, Range]:
    longest = {}
    if changes.max_frame_wh:
        longest["width"], longest["height"] = changes.max_frame_wh
    if changes.max_prompts:
        longest[PROMPTS] = changes.max_prompts
    changed = dict(dimensions)
    for name in longest.keys() & dimensions.keys():
        side, most = dimensions[name], longest[name]
        if most < side.min:
            flag = "--max-objects" if name == PROMPTS else "--max-frame"
            raise UsageError(f"{flag}: {name}: wanted {side.min} or more, got {most}")
        changed[name] = Range(side.min, min(side.opt, most), most)
    return changed


def _workspace(path: Path, told: int | list[tuple[int, int]], dimensions: Mapping[str, Range]) -> int:
    """The pair of the fewest prompts that are enough; beyond the last, as much more as there are more prompts."""
    if isinstance(told, int):
        return told
    if PROMPTS not in dimensions or not told:
        raise UsageError(f"{path}: workspace_mb: wanted a number, or pairs beside dimensions.{PROMPTS}")
    most = dimensions[PROMPTS].max
    pairs = sorted(told)
    last, mb = pairs[-1]
    return next((mb for prompts, mb in pairs if most <= prompts), -(-mb * most // last))
