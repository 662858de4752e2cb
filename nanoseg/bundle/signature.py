"""Inputs and outputs of an ONNX file, read without the onnx package, which a Jetson need not have."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from nanoseg.backends.engine import TensorSpec
from nanoseg.errors import BundleError, one_line
from nanoseg.utils.protobuf import Span, mapped_file, read_fields, read_spans, read_text

# Field numbers of onnx.proto's ModelProto, GraphProto, TensorProto, ValueInfoProto, TypeProto and TensorShapeProto.
_GRAPH = 7
_INITIALIZER, _INPUT, _OUTPUT = 5, 11, 12
_INITIALIZER_NAME = 8
_NAME, _TYPE = 1, 2
_TENSOR_TYPE, _ELEMENT_TYPE, _SHAPE = 1, 1, 2
_DIM, _DIM_VALUE = 1, 1
# TensorProto.DataType
_DTYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool", 10: "float16"}


class Signature(NamedTuple):
    """A graph's inputs and outputs by name, in the graph's order; a dimension that varies is None."""

    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]


def read_signature(path: Path) -> Signature:
    """Return the inputs and outputs of an ONNX file; initializers are no inputs.

    Raises:
        BundleError: the file cannot be read, or is not ONNX.
    """
    try:
        with mapped_file(path) as content:
            return _read_signature(content)
    except (OSError, ValueError, KeyError) as error:
        raise BundleError(f"{path}: cannot be read as ONNX: {one_line(error)}") from error


def _read_signature(content: memoryview) -> Signature:
    found: dict[int, dict[str, TensorSpec]] = {_INPUT: {}, _OUTPUT: {}}
    weights = set()
    for graph in read_spans(content, None, _GRAPH):
        for field, value in read_fields(content, graph):
            if field == _INITIALIZER and isinstance(value, tuple):
                weights |= {read_text(content, name) for name in read_spans(content, value, _INITIALIZER_NAME)}
            elif field in found and isinstance(value, tuple):
                (name,) = (read_text(content, name) for name in read_spans(content, value, _NAME))
                found[field][name] = _read_spec(content, value)
    if not found[_OUTPUT]:
        raise ValueError("it has no graph with outputs")
    return Signature({name: spec for name, spec in found[_INPUT].items() if name not in weights}, found[_OUTPUT])


def _read_spec(content: memoryview, value_info: Span) -> TensorSpec:
    (type_proto,) = read_spans(content, value_info, _TYPE)
    (tensor_type,) = read_spans(content, type_proto, _TENSOR_TYPE)
    fields = dict(read_fields(content, tensor_type))
    shape, element_type = fields[_SHAPE], fields[_ELEMENT_TYPE]
    if not isinstance(shape, tuple) or not isinstance(element_type, int):
        raise ValueError("a tensor has no type")
    dims = [dict(read_fields(content, dim)).get(_DIM_VALUE) for dim in read_spans(content, shape, _DIM)]
    return TensorSpec(np.dtype(_DTYPES[element_type]), tuple(dim if isinstance(dim, int) else None for dim in dims))
