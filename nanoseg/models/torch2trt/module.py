"""torch2trt's files: the state_dict of a TRTModule, with a serialized TensorRT engine in it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nanoseg.errors import BundleError, UsageError, one_line
from nanoseg.models.checkpoints.files import read_torch
from nanoseg.utils.files import atomic_path, write_errors


@dataclass(frozen=True)
class TrtModule:
    """Contents of a TRTModule; names are in the order of the module's arguments and results."""

    engine: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def read_trt_module(path: str | Path, module: str | None = None) -> TrtModule:
    """Read the TRTModule in a file that torch.save wrote of a state_dict; nothing in the file is executed.

    The nesting of tensors in newer versions (`input_flattener`, `output_flattener`) is dropped; their order is kept.

    Args:
        path: The file.
        module: Prefix of the TRTModule's keys, where the file holds several.

    Raises:
        BundleError: The file holds no TRTModule, or an empty one.
        UsageError: `module` is not in the file, or is needed.
    """
    path = Path(path)
    if not path.is_file():
        raise BundleError(f"{path}: wanted a file of torch2trt, found no such file")
    found = dict(_modules(read_torch(path), ""))
    if not found:
        raise BundleError(f"{path}: wanted the state_dict of a torch2trt TRTModule, found no 'engine' in it")
    if module is None and len(found) > 1:
        raise UsageError(f"{path}: holds {len(found)} engines; choose one with --module {' or '.join(sorted(found))}")
    if module is not None and module not in found:
        raise UsageError(f"--module: wanted one of {', '.join(map(repr, sorted(found)))} of {path}, got {module!r}")
    state = found[next(iter(found)) if module is None else module]
    if not state["engine"]:
        raise BundleError(f"{path}: its engine is empty; save the state_dict of a TRTModule that has been built")
    return TrtModule(bytes(state["engine"]), *(_names(state, key, path) for key in ("input_names", "output_names")))


def write_trt_module(module: TrtModule, path: str | Path) -> Path:
    """Write the state_dict that `TRTModule.load_state_dict` takes; return `path`.

    It has no flatteners, like those of older versions, so that every version loads it. The file appears complete or
    not at all.

    Raises:
        UsageError: The file cannot be written.
    """
    path = Path(path)
    state: OrderedDict[str, Any] = OrderedDict(
        engine=bytearray(module.engine), input_names=list(module.inputs), output_names=list(module.outputs)
    )
    with write_errors(path, "choose another --out"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as part:
            try:
                torch.save(state, part)
            except RuntimeError as error:  # torch raises this where the disk is full
                raise OSError(one_line(error)) from error
    return path


def _modules(content: Any, prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield prefix and entries of each TRTModule in a state_dict, at any depth."""
    if not isinstance(content, Mapping):
        return
    for key, value in content.items():
        before, _, last = f"{prefix}{key}".rpartition(".")
        if last == "engine" and isinstance(value, bytes | bytearray):
            start = str(key).removesuffix("engine")
            entries = {name: content.get(f"{start}{name}") for name in ("input_names", "output_names")}
            yield before, {"engine": value, **entries}
        elif isinstance(value, Mapping):
            yield from _modules(value, f"{prefix}{key}.")


def _names(state: Mapping[str, Any], key: str, path: Path) -> tuple[str, ...]:
    names = state[key]
    listed = isinstance(names, list | tuple) and bool(names) and all(isinstance(name, str) for name in names)
    if not listed or len(set(names)) < len(names):
        raise BundleError(f"{path}: '{key}': wanted tensor names, got {str(names)[:60]}")
    return tuple(names)
