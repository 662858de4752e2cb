"""Read files of torch.save and safetensors as data; nothing in a file is ever executed."""

from __future__ import annotations

import os
import pickle
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from nanoseg.errors import BundleError, needs
from nanoseg.utils.names import utf8_path
from nanoseg.utils.read_file import open_file
from nanoseg.utils.zip_directory import TooLargeError, read_directory

_MAX_RATIO = 8  # a checkpoint's unpacked size to its file's; torch.save itself does not compress
_MIN_UNPACKED = 16_000_000
_CHUNK_BYTES = 1 << 20


class Placeholder:
    """Replacement for an object of a trainer's own classes; it keeps nothing of the object."""

    def __new__(cls, *_args: Any) -> Placeholder:
        return super().__new__(cls)

    def __init__(self, *_args: Any) -> None:
        pass

    def __setstate__(self, _state: Any) -> None:
        pass


def _empty_bytes(*arguments: Any) -> bytes | Placeholder:
    """Return b"" for bytes(), as pickle writes it; an argument could ask for any number of zeros."""
    return Placeholder() if arguments else b""


# pickle sets or appends their items after the call, which torch allows for dict and list alone.
_PLAIN: dict[str, Callable[..., Any]] = {
    "collections.defaultdict": lambda *_: {},
    "collections.deque": lambda *_: [],
    "builtins.bytes": _empty_bytes,
}
# Trainers save NumPy scalars, paths, arguments and configurations beside the weights: harmless, and not needed.
# Each becomes a Placeholder, so that not even NumPy's or pathlib's code runs on the content of the file.
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
    *((Placeholder, name) for name in _HARMLESS),
    *((make, name) for name, make in _PLAIN.items()),
]


def read_torch(path: Path) -> Any:
    """Read a file of torch.save.

    Raises:
        BundleError: The file holds more than data, or is another kind of file.
    """
    _check_sizes(path)
    try:
        # The file, as torch takes the format of a path from its suffix.
        with path.open("rb") as file, torch.serialization.safe_globals(_KNOWN), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch to its developers, on old formats
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch names the first global that is neither a tensor nor plain data, if there is one.
        name = re.search(r"GLOBAL (\S+)", str(error))
        content = f"more than weights ({name[1]})" if name else "more than weights, or is no checkpoint,"
        advice = "if you trust it, load it yourself and torch.save its state_dict"
        raise BundleError(f"{path}: holds {content} and was not loaded; {advice}") from error
    except Exception as error:  # arbitrary bytes make torch raise errors of any type
        raise BundleError(f"{path}: wanted a file of torch.save, got a damaged file or one of another kind") from error


def _check_sizes(path: Path) -> None:
    """Raise BundleError where a file would unpack to far more than it has: weights hardly shrink."""
    with open_file(path, BundleError) as file:
        limit = max(_MIN_UNPACKED, _MAX_RATIO * os.fstat(file.fileno()).st_size)
        try:
            read_directory(file, limit)
        except TooLargeError as error:
            raise BundleError(f"{path}: {error}, {_MAX_RATIO} times its size") from error
        except zipfile.BadZipFile:  # of torch before 1.6, or another kind of file: torch says which
            return
        _check_sums(path, file)


def _check_sums(path: Path, file: BinaryIO) -> None:
    """Raise BundleError where a part of a zip file is damaged, which torch does not look at."""
    name = ""
    try:
        with zipfile.ZipFile(file) as archive:
            for entry in archive.infolist():
                name = entry.filename
                if not entry.CRC:  # an empty one, or torch.serialization.set_crc32_options(False)
                    continue
                with archive.open(entry) as part:
                    while part.read(_CHUNK_BYTES):
                        pass
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, OverflowError, struct.error) as error:
        raise BundleError(f"{path}: {name} in it is damaged, its checksum differs; fetch it again") from error
    except (RuntimeError, NotImplementedError):  # encrypted or compressed in a way of its own: torch says so
        return


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read tensors and metadata of a .safetensors file.

    Raises:
        BundleError: The file is another kind of file.
        DependencyError: safetensors is not installed.
    """
    with needs("safetensors", "export"):
        from safetensors import SafetensorError, safe_open
    try:
        with utf8_path(path) as name, safe_open(name, framework="pt") as file:
            # The file has keys() but cannot be iterated over.
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except SafetensorError as error:
        raise BundleError(f"{path}: wanted a safetensors file, got a damaged file or one of another kind") from error
