"""Inputs and outputs of an ONNX file, read without the onnx package, which a Jetson need not have."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from nanoseg.backends.engine import TensorSpec
from nanoseg.bundle.external_data import EXTERNAL_DATA, MARK, external_data
from nanoseg.errors import BundleError, one_line
from nanoseg.utils.protobuf import Span, mapped_file, read_fields, read_spans, read_text

# Field numbers of onnx.proto's ModelProto, GraphProto, TensorProto, ValueInfoProto, TypeProto and TensorShapeProto.
_GRAPH, _METADATA = 7, 14
_NODE, _INITIALIZER, _INPUT, _OUTPUT = 1, 5, 11, 12
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


class GraphFile(NamedTuple):
    """What an ONNX file says about itself."""

    signature: Signature
    external: frozenset[str]  # the files of weights that it refers to
    metadata: dict[str, str]


def read_signature(path: Path) -> Signature:
    """Return the inputs and outputs of an ONNX file; initializers are no inputs.

    Raises:
        BundleError: the file cannot be read, or is not ONNX.
    """
    try:
        signature = read_graph_file(path).signature
        if not signature.outputs:
            raise ValueError("it has no graph with outputs")
        return signature
    except (OSError, ValueError, KeyError) as error:
        raise BundleError(f"{path}: cannot be read as ONNX: {one_line(error)}") from error


def read_graph_file(path: Path) -> GraphFile:
    """Return an ONNX file's inputs and outputs, if any, the files of weights that it refers to, and its metadata.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not ONNX.
        KeyError: an input or output has another type than arrays have.
    """
    with mapped_file(path) as content:
        signature, is_external = _read_signature(content)
        external = frozenset(external_data(content)) if is_external else frozenset[str]()
        return GraphFile(signature, external, _read_metadata(content))


def _read_signature(content: memoryview) -> tuple[Signature, bool]:
    """Return the signature, and whether a tensor may lie in another file."""
    found: dict[int, dict[str, TensorSpec]] = {_INPUT: {}, _OUTPUT: {}}
    weights, is_external = set(), False
    graphs = list(read_spans(content, None, _GRAPH))
    if not graphs:
        raise ValueError("it has no graph with outputs")
    for graph in graphs:
        for field, value in read_fields(content, graph):
            if not isinstance(value, tuple):
                continue
            if field == _INITIALIZER:
                for tensor_field, span in read_fields(content, value):
                    if tensor_field == _INITIALIZER_NAME and isinstance(span, tuple):
                        weights.add(read_text(content, span))
                    is_external |= tensor_field == EXTERNAL_DATA
            elif field == _NODE:
                is_external |= MARK in bytes(content[slice(*value)])
            elif field in found:
                (name,) = (read_text(content, name) for name in read_spans(content, value, _NAME))
                found[field][name] = _read_spec(content, value)
    inputs = {name: spec for name, spec in found[_INPUT].items() if name not in weights}
    return Signature(inputs, found[_OUTPUT]), is_external


def _read_metadata(content: memoryview) -> dict[str, str]:
    found = {}
    for entry in read_spans(content, None, _METADATA):
        words = {
            field: read_text(content, span) for field, span in read_fields(content, entry) if isinstance(span, tuple)
        }
        found[words.get(1, "")] = words.get(2, "")
    return found


def _read_spec(content: memoryview, value_info: Span) -> TensorSpec:
    (type_proto,) = read_spans(content, value_info, _TYPE)
    (tensor_type,) = read_spans(content, type_proto, _TENSOR_TYPE)
    fields = dict(read_fields(content, tensor_type))
    shape, element_type = fields[_SHAPE], fields[_ELEMENT_TYPE]
    if not isinstance(shape, tuple) or not isinstance(element_type, int):
        raise ValueError("a tensor has no type")
    dims = [dict(read_fields(content, dim)).get(_DIM_VALUE) for dim in read_spans(content, shape, _DIM)]
    return TensorSpec(np.dtype(_DTYPES[element_type]), tuple(dim if isinstance(dim, int) else None for dim in dims))
