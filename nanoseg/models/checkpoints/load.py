"""Load checkpoints of any trainer, as data only, and put their weights into a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nanoseg.errors import BundleError
from nanoseg.models.checkpoints.files import read_safetensors, read_torch
from nanoseg.models.checkpoints.layouts import (
    HOLDER_NAMES,
    PixelFormat,
    find_state_dict,
    read_description,
    read_metadata_labels,
    strip_prefixes,
)
from nanoseg.processing.geometry import Padding
from nanoseg.utils.describe_file import ONNX, PICKLE, SAFETENSORS, TORCH, UNKNOWN, describe_file
from nanoseg.utils.hashing import sha256_of_file
from nanoseg.utils.names import first_names

# Of a BatchNorm: older trainers did not write it, who rounds all tensors to float16 makes it infinite, and inference
# does not use it.
_COUNTER = ".num_batches_tracked"
_MAX_TENSOR_BYTES = 1 << 32


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Weights, and the description of their network in the file (None where the file has no such entry)."""

    path: Path
    state_dict: dict[str, Tensor]
    architecture: str | None = None
    variant: str | None = None
    labels: tuple[str, ...] | None = None
    image_size: int | None = None  # side of the network's input
    rescale_px: int | None = None  # longest side of an image in that input
    pixels: PixelFormat | None = None
    padding: Padding | None = None  # around the image in that input
    skeleton: tuple[tuple[int, int], ...] | None = None  # of keypoints, as pairs of their indices
    holder: str | None = None  # keys of the weights in the file, where it holds more than them

    @property
    def origin(self) -> str:
        """Name and sha256 of the file and the keys of the weights in it, for an export's metadata."""
        return f"{self.path.name} sha256 {sha256_of_file(self.path)}" + (f", its {self.holder}" if self.holder else "")


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a .safetensors file or anything torch.save wrote: a state_dict, or a mapping that holds one.

    The layouts of super-gradients, modern-yolonas, Lightning, NanoSAM and nanoseg's own training are supported.
    Averaged weights are preferred (`origin` says which were taken); prefixes of wrappers are removed. Nothing in the
    file is executed.

    Raises:
        BundleError: The file does not exist or holds no weights.
        DependencyError: safetensors is needed and not installed.
    """
    path = Path(path)
    if not path.exists():
        raise BundleError(f"{path}: wanted a checkpoint, found no such file")
    kind = describe_file(path)
    if kind.name == SAFETENSORS:
        tensors, metadata = read_safetensors(path)
        return Checkpoint(path, _weights(tensors, path), labels=read_metadata_labels(metadata))
    if kind.name == ONNX:
        raise BundleError(f"{path}: wanted a checkpoint, got an ONNX model, which needs no export")
    if kind.name not in (TORCH, PICKLE, UNKNOWN):
        raise BundleError(f"{path}: wanted a checkpoint, got {kind.text}")
    content = read_torch(path)
    if not isinstance(content, Mapping):
        raise BundleError(f"{path}: wanted a state_dict or a mapping that holds one, got {type(content).__name__}")
    state_dict, holder = find_state_dict(content)
    return Checkpoint(path, _weights(state_dict, path), holder=holder, **read_description(content))


def load_weights(network: nn.Module, checkpoint: Checkpoint, kind: str | None = None) -> None:
    """Load all weights of the checkpoint into the network.

    Entries in a module's `unused_keys` may be missing.

    Args:
        network: The network.
        checkpoint: Its weights.
        kind: Name of the network for the message, where its variant is known for sure.

    Raises:
        BundleError: Weights are missing, unexpected, or of another shape or type, or have no values that a network can
            have; the message names them.
    """
    wanted, given = network.state_dict(), checkpoint.state_dict
    optional = {
        f"{path}.{name}" for path, module in network.named_modules() for name in getattr(module, "unused_keys", ())
    }
    counters = {name for name in wanted if name.endswith(_COUNTER)}
    optional |= counters
    missing = [name for name in wanted if name not in given and name not in optional]
    unexpected = [name for name in given if name not in wanted]
    reshaped = [
        f"{name} {tuple(given[name].shape)} for {tuple(wanted[name].shape)}"
        for name in wanted
        if name in given and given[name].shape != wanted[name].shape
    ]
    # Quantized weights would load, and be wrong.
    retyped = [
        f"{name} {given[name].dtype}"
        for name in wanted
        if name in given and name not in counters
        if given[name].is_floating_point() != wanted[name].is_floating_point()
    ]
    found = {"missing": missing, "unexpected": unexpected, "of another shape": reshaped, "of another type": retyped}
    wrong = [f"{len(names)} {fault} ({first_names(names)})" for fault, names in found.items() if names]
    if wrong:
        advice = "" if kind else "; check its variant"
        kind = kind or f"this {type(network).__name__}"
        raise BundleError(f"{checkpoint.path}: not the weights of {kind}: {', '.join(wrong)}{advice}")
    _check_values(given, checkpoint.path)
    network.load_state_dict({name: value for name, value in given.items() if name not in counters}, strict=False)


def _weights(content: Mapping[Any, Any], path: Path) -> dict[str, Tensor]:
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors or len(tensors) < len(content):
        got = first_names(str(name) for name, value in content.items() if not isinstance(value, Tensor)) or "nothing"
        raise BundleError(f"{path}: wanted a state_dict, alone or under {HOLDER_NAMES}; got {got}")
    for name, value in tensors.items():
        # Strides of 0 make any size of one number; SAM's whole file is 2.6 GB.
        if value.numel() * value.element_size() > _MAX_TENSOR_BYTES:
            raise BundleError(f"{path}: {name}: has {tuple(value.shape)} numbers, more than any network read here")
    return strip_prefixes(tensors)


def _check_values(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise BundleError where tensors have no values, or none that a network can have."""
    zero = True
    for name, value in tensors.items():
        if value.is_meta:
            raise BundleError(
                f"{path}: {name}: is on the device meta, without values; load the weights, then save them"
            )
        if value.layout != torch.strided or value.is_quantized:
            raise BundleError(f"{path}: {name}: wanted plain numbers, got a sparse or quantized tensor")
        if value.is_floating_point() and not name.endswith(_COUNTER):
            if not torch.isfinite(value).all():
                raise BundleError(f"{path}: {name}: has NaN or infinite values; take an earlier checkpoint")
            zero = zero and not value.any()
    if zero and any(value.is_floating_point() and value.numel() for value in tensors.values()):
        raise BundleError(f"{path}: every weight is zero; it was saved before its weights were loaded")
