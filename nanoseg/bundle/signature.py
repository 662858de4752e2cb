"""What an ONNX file takes and gives, read without the onnx package, which a Jetson need not have."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nanoseg.backends.engine import TensorSpec
from nanoseg.errors import BundleError, one_line

# Field numbers of onnx.proto, and its TensorProto.DataType.
_GRAPH, _INITIALIZER, _INPUT, _OUTPUT = 7, 5, 11, 12
_NAME, _INITIALIZER_NAME, _TYPE, _TENSOR, _ELEMENT, _SHAPE, _SIDE, _LENGTH = 1, 8, 2, 1, 1, 2, 1, 1
_DTYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool", 10: "float16"}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class Tensors(NamedTuple):
    """Of a graph, in its own order; None is a side that varies."""

    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]


def read_tensors(path: Path) -> Tensors:
    """Inputs and outputs of the file; weights are skipped. Raises BundleError for a file that is not ONNX."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            view = memoryview(content)
            try:
                return _tensors(view)
            finally:
                view.release()
    except (OSError, ValueError, KeyError, IndexError, UnicodeDecodeError) as error:
        raise BundleError(f"{path}: cannot be read as ONNX: {one_line(error)}") from error


def _tensors(content: memoryview) -> Tensors:
    found: dict[int, dict[str, TensorSpec]] = {_INPUT: {}, _OUTPUT: {}}
    weights = set()
    for start, end in _parts(content, (0, len(content)), _GRAPH):
        for field, value in _fields(content, start, end):
            if field == _INITIALIZER and isinstance(value, tuple):
                weights |= {_text(content, each) for each in _parts(content, value, _INITIALIZER_NAME)}
            elif field in found and isinstance(value, tuple):
                (name,) = (_text(content, each) for each in _parts(content, value, _NAME))
                found[field][name] = _spec(content, value)
    if not found[_OUTPUT]:
        raise ValueError("it has no graph with outputs")
    return Tensors({name: spec for name, spec in found[_INPUT].items() if name not in weights}, found[_OUTPUT])


def _spec(content: memoryview, value: tuple[int, int]) -> TensorSpec:
    (kind,) = _parts(content, value, _TYPE)
    (tensor,) = _parts(content, kind, _TENSOR)
    fields = dict(_fields(content, *tensor))
    shape, element = fields[_SHAPE], fields[_ELEMENT]
    if not isinstance(shape, tuple) or not isinstance(element, int):
        raise ValueError("a tensor has no type")
    sides = [dict(_fields(content, *each)).get(_LENGTH) for each in _parts(content, shape, _SIDE)]
    return TensorSpec(np.dtype(_DTYPES[element]), tuple(side if isinstance(side, int) else None for side in sides))


def _parts(content: memoryview, within: tuple[int, int], wanted: int) -> Iterator[tuple[int, int]]:
    """Where the messages and texts of one field begin and end."""
    for field, value in _fields(content, *within):
        if field == wanted and isinstance(value, tuple):
            yield value


def _fields(content: memoryview, at: int, end: int) -> Iterator[tuple[int, int | tuple[int, int]]]:
    """Each field's number with its number, or where its bytes begin and end: protobuf's wire format."""
    while at < end:
        key, at = _varint(content, at)
        field, wire = key >> 3, key & 7
        if wire == _VARINT:
            number, at = _varint(content, at)
            yield field, number
        elif wire == _BYTES:
            length, at = _varint(content, at)
            if at + length > end:
                raise ValueError("it is cut short")
            yield field, (at, at + length)
            at += length
        elif wire in (_FIXED64, _FIXED32):
            at += 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"a field of wire type {wire}")


def _varint(content: memoryview, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = content[at]
        at += 1
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return number, at


def _text(content: memoryview, part: tuple[int, int]) -> str:
    return bytes(content[slice(*part)]).decode()
