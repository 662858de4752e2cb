"""Read the weights in a published file as NumPy arrays, without torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nanoseg.errors import BundleError
from nanoseg.models.checkpoints.layouts import HOLDER_NAMES, find_state_dict, strip_prefixes
from nanoseg.utils.describe_file import SAFETENSORS, TORCH, describe_file
from nanoseg.weights.safetensors import read_safetensors
from nanoseg.weights.torch_zip import read_torch_zip


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """Return a file's weights by name, without the prefixes that wrappers put before every name.

    Args:
        path: A safetensors file, or a zip file of torch.save: a state_dict, or a mapping that holds one.

    Raises:
        BundleError: The file does not exist, is of another kind, or holds no weights.
    """
    if not path.is_file():
        raise BundleError(f"{path}: wanted a file of weights, found no such file")
    kind = describe_file(path).name  # whatever its suffix says
    is_safetensors = kind == SAFETENSORS or (path.suffix == ".safetensors" and kind != TORCH)
    content = read_safetensors(path) if is_safetensors else read_torch_zip(path)
    if not isinstance(content, dict):
        raise BundleError(f"{path}: wanted a state_dict or a mapping that holds one, got {type(content).__name__}")
    found, _ = find_state_dict(content)
    weights = {str(name): value for name, value in found.items() if isinstance(value, np.ndarray)}
    if not weights or len(weights) < len(found):
        raise BundleError(f"{path}: wanted a state_dict, alone or under {HOLDER_NAMES}; got something else")
    return strip_prefixes(weights)
