"""Weights from files that others wrote: read as data only, with errors that say what does not fit."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nanoseg.bundle import sha256_of
from nanoseg.errors import BundleError, needs

# Where trainers put the state_dict; averaged weights first, as they are the ones to deploy.
_HOLDERS = ("ema_net", "net", "model", "state_dict")
_SHOWN = 3  # names in an error message


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Weights, and what their file says of the network they belong to (None where it says nothing)."""

    path: Path
    state_dict: dict[str, Tensor]
    architecture: str | None = None
    variant: str | None = None
    labels: tuple[str, ...] | None = None
    image_size: int | None = None  # side of the network's input, pixels

    @property
    def origin(self) -> str:
        """Name and sha256 of the file, for what is made of it to tell where its weights came from."""
        return f"{self.path.name} sha256 {sha256_of(self.path)}"


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a .safetensors file or anything torch.save wrote: a state_dict, or a mapping that holds one.

    A state_dict is looked for under "ema_net", "net", "model" and "state_dict"; a `module.` prefix is taken
    off. Nothing in the file is executed. Raises BundleError where there are no weights to be had,
    DependencyError where safetensors is needed and missing.
    """
    path = Path(path)
    if not path.is_file():
        raise BundleError(f"{path}: wanted a checkpoint, found no such file")
    if path.suffix == ".safetensors":
        return Checkpoint(path, _weights(_read_safetensors(path), path))
    content = _read_torch(path)
    if not isinstance(content, Mapping):
        raise BundleError(f"{path}: wanted a state_dict or a mapping that holds one, got {type(content).__name__}")
    held = next((content[key] for key in _HOLDERS if isinstance(content.get(key), Mapping)), None)
    if held is None:
        return Checkpoint(path, _weights(content, path))
    size, labels = content.get("image_size"), content.get("labels")
    return Checkpoint(
        path,
        _weights(held, path),
        architecture=_text(content.get("architecture")),
        variant=_text(content.get("variant")),
        labels=tuple(map(str, labels)) if isinstance(labels, list | tuple) else None,
        image_size=size if isinstance(size, int) else None,
    )


def load_weights(network: nn.Module, checkpoint: Checkpoint) -> None:
    """Put the checkpoint into the network, all of it and nothing else; raises BundleError naming what differs."""
    wanted, given = network.state_dict(), checkpoint.state_dict
    # A counter that older trainers did not write and inference does not read.
    missing = [name for name in wanted if name not in given and not name.endswith(".num_batches_tracked")]
    unexpected = [name for name in given if name not in wanted]
    reshaped = [
        f"{name} {tuple(given[name].shape)} for {tuple(wanted[name].shape)}"
        for name in wanted
        if name in given and given[name].shape != wanted[name].shape
    ]
    found = {"missing": missing, "unexpected": unexpected, "of another shape": reshaped}
    wrong = [f"{len(names)} {what} ({_some(names)})" for what, names in found.items() if names]
    if wrong:
        kind = type(network).__name__
        raise BundleError(f"{checkpoint.path}: not the weights of this {kind}: {', '.join(wrong)}; check its variant")
    network.load_state_dict(given, strict=False)


def _read_torch(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BundleError(
            f"{path}: holds more than weights, or is no checkpoint, and was not loaded; "
            "where you trust it, load it yourself and torch.save its state_dict"
        ) from error
    except Exception as error:  # a file of other bytes makes the reader stumble in any way it can
        raise BundleError(f"{path}: wanted a file of torch.save, this one is damaged or something else") from error


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    with needs("safetensors", "export"):
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except SafetensorError as error:
        raise BundleError(f"{path}: wanted a safetensors file, this one is damaged or something else") from error
    return tensors


def _weights(content: Mapping[Any, Any], path: Path) -> dict[str, Tensor]:
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors or len(tensors) < len(content):
        others = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
        raise BundleError(
            f"{path}: wanted a state_dict, alone or under {', '.join(_HOLDERS)}; got {_some(others) or 'nothing'}"
        )
    while all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    return tensors


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:_SHOWN]) + (", ..." if len(listed) > _SHOWN else "")


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
