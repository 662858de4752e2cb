"""Read the zip files of torch.save with NumPy alone; no code of a file is run.

Such a file holds a pickle of the structure, data.pkl, and the tensors' bytes, uncompressed, in entries of their own.
The pickle may name the few globals of tensors, which are replaced by classes of this module; anything else is refused.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nanoseg.errors import BundleError
from nanoseg.weights.safetensors import widen_bfloat16

MAX_PICKLE_BYTES = 64_000_000
# bfloat16 is read as uint16 and widened, as NumPy has no such type.
STORAGES = {
    "DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "BFloat16Storage": "<u2",
    "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "|i1", "ByteStorage": "|u1",
    "BoolStorage": "|b1",
}  # fmt: skip
# What torch.save writes, protocol 2. Others could ask for memory or objects that the file does not hold.
OPCODES = {
    *("PROTO", "STOP", "GLOBAL", "REDUCE", "BUILD", "BINPERSID", "MARK", "NONE", "NEWTRUE", "NEWFALSE"),
    *("EMPTY_DICT", "SETITEM", "SETITEMS", "EMPTY_LIST", "APPEND", "APPENDS"),
    *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
    *("BINUNICODE", "SHORT_BINSTRING", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"),
}


@dataclass(frozen=True, eq=False)
class _Storage:
    kind: str  # a key of STORAGES
    key: str  # its entry's name in the file
    length: int  # elements


@dataclass(frozen=True, eq=False)
class _Tensor:
    storage: Any
    offset: Any  # elements, as the strides
    shape: Any
    strides: Any


def read_torch_zip(path: Path) -> Any:
    """Return what was saved, with NumPy arrays for tensors; bfloat16 becomes float32.

    Raises:
        BundleError: The file is of another kind, damaged, or holds more than tensors and plain data.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_sizes(archive, path.stat().st_size)
            root = _root(archive)
            if f"{root}byteorder" in archive.namelist() and archive.read(f"{root}byteorder") != b"little":
                raise ValueError("its numbers are big-endian")
            return _Arrays(archive, root).fill(_load(archive.read(f"{root}data.pkl")))
    except RecursionError as error:
        raise BundleError(f"{path}: wanted a file of torch.save, got one nested too deep") from error
    except Exception as error:  # arbitrary bytes make pickle and zipfile raise errors of any type
        raise BundleError(
            f"{path}: wanted a zip file of torch.save that holds tensors and plain data, got another or a damaged one: "
            f"{' '.join(str(error).split()) or type(error).__name__}"
        ) from error


def _check_sizes(archive: zipfile.ZipFile, size: int) -> None:
    """Check by the zip's directory that nothing unpacks to more than the file holds."""
    entries = archive.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError("its entries are compressed, which torch.save never does")
    if (total := sum(entry.file_size for entry in entries)) > size:
        raise ValueError(f"its entries claim {total:,} bytes of a file of {size:,}")


def _root(archive: zipfile.ZipFile) -> str:
    """Return the folder of all entries, with its slash."""
    found = [name for name in archive.namelist() if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(found) != 1 or archive.getinfo(found[0]).file_size > MAX_PICKLE_BYTES:
        raise ValueError(f"it holds {len(found)} files data.pkl, or one too large")
    return found[0].removesuffix("data.pkl")


def _load(data: bytes) -> Any:
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name not in OPCODES:
            raise ValueError(f"its pickle has the instruction {opcode.name}, which torch.save does not write")
        if opcode.name == "LONG_BINPUT" and int(argument or 0) > len(data):
            raise ValueError("its pickle numbers more objects than it has bytes")
    return _Unpickler(io.BytesIO(data)).load()


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    return _Tensor(storage, offset, shape, strides)


def _rebuild_parameter(tensor: Any, *_: Any) -> Any:
    return tensor


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) in (("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_parameter")):
            return _rebuild_tensor if name == "_rebuild_tensor_v2" else _rebuild_parameter
        if module == "torch" and name in STORAGES:
            return name
        raise ValueError(f"it names {module}.{name}")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage, key, _, length = pid
        if kind != "storage" or storage not in STORAGES or not isinstance(key, str) or type(length) is not int:
            raise ValueError("it describes a storage in another form than torch.save's")
        return _Storage(storage, key, length)


class _Arrays:
    """The tensors of an archive; each storage is read once."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        self._archive, self._root = archive, root
        self._read: dict[str, np.ndarray] = {}
        self._filled: dict[int, Any] = {}  # containers by id, as one may stand in many places; the root keeps them

    def fill(self, value: Any) -> Any:
        """Return the value with arrays in place of its tensors."""
        if isinstance(value, _Tensor):
            return self._array(value)
        if not isinstance(value, Mapping | list | tuple):
            return value
        if id(value) not in self._filled:
            if isinstance(value, Mapping):
                self._filled[id(value)] = {key: self.fill(each) for key, each in value.items()}
            else:
                self._filled[id(value)] = [self.fill(each) for each in value]
        return self._filled[id(value)]

    def _array(self, tensor: _Tensor) -> np.ndarray:
        storage, offset, shape, strides = tensor.storage, tensor.offset, tensor.shape, tensor.strides
        if not isinstance(storage, _Storage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
            raise ValueError("a tensor of it has no storage, shape or strides")
        if len(shape) != len(strides) or not all(type(n) is int and n >= 0 for n in (offset, *shape, *strides)):
            raise ValueError(f"a tensor of it has offset {offset}, shape {shape} and strides {strides}")
        count = math.prod(shape)
        last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
        if count > storage.length or (count and last >= storage.length):
            raise ValueError(f"a tensor of shape {shape} is larger than its storage of {storage.length}")
        values = self._values(storage)
        steps = [stride * values.itemsize for stride in strides]
        found = np.lib.stride_tricks.as_strided(values[offset:], shape, steps, writeable=False)
        return widen_bfloat16(found) if storage.kind == "BFloat16Storage" else found

    def _values(self, storage: _Storage) -> np.ndarray:
        if storage.key not in self._read:
            data = self._archive.read(f"{self._root}data/{storage.key}")
            self._read[storage.key] = np.frombuffer(data, np.uint8)
        data_bytes, dtype = self._read[storage.key], np.dtype(STORAGES[storage.kind])
        if data_bytes.size != storage.length * dtype.itemsize:
            raise ValueError(
                f"its storage {storage.key} has {data_bytes.size:,} bytes, wanted {storage.length} numbers"
            )
        return data_bytes.view(dtype)
