"""What torch.save and safetensors wrote, read as data: nothing in a file is ever executed."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nanoseg.errors import BundleError, needs


class Unread:
    """Stands where a trainer left something that only its own code could bring back; keeps nothing of it."""

    def __new__(cls, *_args: Any) -> Unread:
        return super().__new__(cls)

    def __init__(self, *_args: Any) -> None:
        pass

    def __setstate__(self, _state: Any) -> None:
        pass


def _no_bytes(*given: Any) -> bytes | Unread:
    """bytes() as pickle writes b"": nothing else is made of it, as a number would be so many zeros."""
    return Unread() if given else b""


# Their items are set or appended after the call, which torch allows for plain ones alone.
_PLAIN: dict[str, Callable[..., Any]] = {
    "collections.defaultdict": lambda *_: {},
    "collections.deque": lambda *_: [],
    "builtins.bytes": _no_bytes,
}
# Beside the weights trainers save figures of NumPy, paths, arguments and configurations: harmless, and not needed.
# Each becomes an Unread, so that not even NumPy's or pathlib's code runs on what the file says.
_HARMLESS = (
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    *("numpy.dtype", "numpy.ndarray", "numpy.float16", "numpy.float32", "numpy.float64", "numpy.int32", "numpy.int64"),
    *(f"{module}.{name}Path" for module in ("pathlib", "pathlib._local") for name in ("", "Posix", "Windows")),
    *(f"{module}.Pure{name}Path" for module in ("pathlib", "pathlib._local") for name in ("Posix", "Windows")),
    *("argparse.Namespace", "torch.torch_version.TorchVersion", "typing.Any"),
    *(f"builtins.{name}" for name in ("bool", "dict", "float", "int", "list", "str", "tuple")),
    *("omegaconf.base.Metadata", "omegaconf.base.ContainerMetadata"),
    *("omegaconf.dictconfig.DictConfig", "omegaconf.listconfig.ListConfig"),
    *(f"omegaconf.nodes.{kind}Node" for kind in ("Any", "Boolean", "Float", "Integer", "String")),
)
_KNOWN: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    *((Unread, name) for name in _HARMLESS),
    *((make, name) for name, make in _PLAIN.items()),
]


def read_torch(path: Path) -> Any:
    """What torch.save wrote; raises BundleError where it asks for more than data, or is another kind of file."""
    try:
        with torch.serialization.safe_globals(_KNOWN):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch names the first thing that is neither tensor nor plain data, where there is one.
        wanted = re.search(r"GLOBAL (\S+)", str(error))
        what = f"more than weights ({wanted[1]})" if wanted else "more than weights, or is no checkpoint,"
        do = "where you trust it, load it yourself and torch.save its state_dict"
        raise BundleError(f"{path}: holds {what} and was not loaded; {do}") from error
    except Exception as error:  # a file of other bytes makes the reader stumble in any way it can
        raise BundleError(f"{path}: wanted a file of torch.save, this one is damaged or something else") from error


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a .safetensors file; raises BundleError where it is none."""
    with needs("safetensors", "export"):
        from safetensors import SafetensorError, safe_open
    try:
        with safe_open(path, framework="pt") as file:
            # Not `for name in file`: it has keys, but is no mapping.
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except SafetensorError as error:
        raise BundleError(f"{path}: wanted a safetensors file, this one is damaged or something else") from error
