"""Read safetensors files with NumPy alone: a length, a JSON header, and the tensors' bytes one after the other."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from nanoseg.errors import BundleError
from nanoseg.utils.describe_file import MAX_HEADER_BYTES

# BF16 is read as uint16 and widened, as NumPy has no such type.
DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2",
    "I8": "|i1", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Return a file's tensors by name; bfloat16 becomes float32.

    Raises:
        BundleError: The file is of another kind, cut short, or its header does not fit its content.
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(size - 8, MAX_HEADER_BYTES):
                raise ValueError(f"its header would have {length:,} bytes")
            header = json.loads(file.read(length))
            content = np.memmap(file, np.uint8, "r", 8 + length, (size - 8 - length,)) if size > 8 + length else b""
            return {
                name: _tensor(name, entry, content)
                for name, entry in _mapping(header, "the header").items()
                if name != "__metadata__"
            }
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BundleError(f"{path}: wanted a safetensors file, got a damaged one or another kind: {error}") from error


def widen_bfloat16(values: np.ndarray) -> np.ndarray:
    """Return bfloat16, given as uint16, as float32: its upper half."""
    return (values.astype(np.uint32) << 16).view(np.float32)


def _tensor(name: str, entry: Any, content: Any) -> np.ndarray:
    kind, shape, (start, end) = (_mapping(entry, name)[key] for key in ("dtype", "shape", "data_offsets"))
    if kind not in DTYPES:
        raise ValueError(f"{name} is of type {kind}; wanted one of {', '.join(DTYPES)}")
    if not all(type(number) is int and number >= 0 for number in (*shape, start, end)):
        raise ValueError(f"{name} has shape {shape} and offsets {start}, {end}")
    dtype = np.dtype(DTYPES[kind])
    if end - start != math.prod(shape) * dtype.itemsize or end > len(content):
        raise ValueError(f"{name} of shape {shape} and type {kind} does not fit bytes {start} to {end} of it")
    values = np.frombuffer(content[start:end], dtype).reshape(shape)
    return widen_bfloat16(values) if kind == "BF16" else values


def _mapping(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} is no mapping")
    return value
