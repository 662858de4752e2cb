"""torch2trt's files: a serialized TensorRT engine within the state_dict of its TRTModule."""

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
    """What one TRTModule holds. Names are in the order in which the module takes and gives its tensors."""

    engine: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def read_trt_module(path: str | Path, module: str | None = None) -> TrtModule:
    """The TRTModule of a file that torch.save made of a state_dict; `module` is its prefix where there are several.

    How newer versions nest the tensors (`input_flattener`, `output_flattener`) is left out; their order stays.
    Nothing in the file is executed. Raises BundleError for a file that holds none, UsageError for the prefix.
    """
    path = Path(path)
    if not path.is_file():
        raise BundleError(f"{path}: wanted a file of torch2trt, found no such file")
    found = dict(_modules(read_torch(path), ""))
    if not found:
        raise BundleError(f"{path}: wanted the state_dict of a torch2trt TRTModule, found no 'engine' in it")
    if module is None and len(found) > 1:
        raise UsageError(f"{path}: holds {len(found)} engines; say which: --module {' or '.join(sorted(found))}")
    if module is not None and module not in found:
        raise UsageError(f"--module: wanted one of {', '.join(map(repr, sorted(found)))} of {path}, got {module!r}")
    state = found[next(iter(found)) if module is None else module]
    if not state["engine"]:
        raise BundleError(f"{path}: its engine is empty; save the state_dict of a TRTModule that has been built")
    return TrtModule(bytes(state["engine"]), *(_names(state, key, path) for key in ("input_names", "output_names")))


def write_trt_module(module: TrtModule, path: str | Path) -> Path:
    """Write the state_dict that `TRTModule.load_state_dict` takes, by a temporary name; returns `path`.

    Without flatteners, as older versions wrote it, so that every version loads it: tensors are given in the order of
    their names, and come back as a tuple, or alone. Raises UsageError where it cannot be written.
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
            except RuntimeError as error:  # torch's for a disk that is full
                raise OSError(one_line(error)) from error
    return path


def _modules(content: Any, prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Prefix and entries of each TRTModule in a state_dict, or in the mappings that hold one."""
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
        raise BundleError(f"{path}: '{key}' wants the names of tensors, got {str(names)[:60]}")
    return tuple(names)
