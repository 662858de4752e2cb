"""Weights from files that others wrote: read as data only, with errors that say what does not fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from nanoseg.errors import BundleError
from nanoseg.models.checkpoints.files import read_safetensors, read_torch
from nanoseg.models.checkpoints.layouts import HOLDER_NAMES, Pixels, held_weights, labels_in, told_by, without_prefixes
from nanoseg.utils.hashing import sha256_of_file

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
    rescale_px: int | None = None  # longer side of a picture in that input
    pixels: Pixels | None = None
    holder: str | None = None  # the keys under which the file has the weights, where it holds more than them

    @property
    def origin(self) -> str:
        """Name and sha256 of the file, and which of its weights, for what is made of it to tell where they are from."""
        return f"{self.path.name} sha256 {sha256_of_file(self.path)}" + (f", its {self.holder}" if self.holder else "")


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a .safetensors file or anything torch.save wrote: a state_dict, or a mapping that holds one.

    A state_dict is looked for where super-gradients, modern-yolonas, Lightning, NanoSAM and nanoseg's own training
    put it, averaged weights first (`origin` says which); prefixes of wrappers are taken off. Nothing in the file is
    executed. Raises BundleError where there are no weights to be had, DependencyError where safetensors is needed and
    missing.
    """
    path = Path(path)
    if not path.is_file():
        raise BundleError(f"{path}: wanted a checkpoint, found no such file")
    if path.suffix == ".safetensors":
        tensors, metadata = read_safetensors(path)
        return Checkpoint(path, _weights(tensors, path), labels=labels_in(metadata))
    content = read_torch(path)
    if not isinstance(content, Mapping):
        raise BundleError(f"{path}: wanted a state_dict or a mapping that holds one, got {type(content).__name__}")
    held, holder = held_weights(content)
    return Checkpoint(path, _weights(held, path), holder=holder, **told_by(content))


def load_weights(network: nn.Module, checkpoint: Checkpoint, kind: str | None = None) -> None:
    """Put the checkpoint into the network, all of it and nothing else.

    Entries that a module names in its `unread` may be missing. Raises BundleError naming what differs; `kind`
    says what the network is where the caller has found that out, so that no variant is in doubt.
    """
    wanted, given = network.state_dict(), checkpoint.state_dict
    unread = {f"{path}.{name}" for path, module in network.named_modules() for name in getattr(module, "unread", ())}
    # A counter that older trainers did not write and inference does not read.
    unread |= {name for name in wanted if name.endswith(".num_batches_tracked")}
    missing = [name for name in wanted if name not in given and name not in unread]
    unexpected = [name for name in given if name not in wanted]
    reshaped = [
        f"{name} {tuple(given[name].shape)} for {tuple(wanted[name].shape)}"
        for name in wanted
        if name in given and given[name].shape != wanted[name].shape
    ]
    # Quantized numbers would load, and mean something else.
    retyped = [
        f"{name} {given[name].dtype}"
        for name in wanted
        if name in given and given[name].is_floating_point() != wanted[name].is_floating_point()
    ]
    found = {"missing": missing, "unexpected": unexpected, "of another shape": reshaped, "of another type": retyped}
    wrong = [f"{len(names)} {what} ({some(names)})" for what, names in found.items() if names]
    if wrong:
        told = kind or f"this {type(network).__name__}"
        do = "" if kind else "; check its variant"
        raise BundleError(f"{checkpoint.path}: not the weights of {told}: {', '.join(wrong)}{do}")
    network.load_state_dict(given, strict=False)


def some(names: Iterable[str]) -> str:
    """The first few names, as error messages give them."""
    listed = list(names)
    return ", ".join(listed[:_SHOWN]) + (", ..." if len(listed) > _SHOWN else "")


def _weights(content: Mapping[Any, Any], path: Path) -> dict[str, Tensor]:
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors or len(tensors) < len(content):
        got = some(str(name) for name, value in content.items() if not isinstance(value, Tensor)) or "nothing"
        raise BundleError(f"{path}: wanted a state_dict, alone or under {HOLDER_NAMES}; got {got}")
    return without_prefixes(tensors)
