"""Cut NMS out of detect.onnx for a CPU, where the host does it sooner on the few candidates above the threshold.

ONNX Runtime computes all outputs of a graph, so the others are removed. That needs no onnx package.
"""

from __future__ import annotations

from pathlib import Path

from nanoseg.utils.protobuf import Span, copy_field, mapped_file, read_fields, read_spans, read_text, write_field

CANDIDATES = "candidates"  # the output that is kept
_OURS = "nanoseg/"  # prefix of the tensors around a detector's own nodes
# Field numbers of onnx.proto's ModelProto, GraphProto, NodeProto and ValueInfoProto.
_GRAPH = 7
_NODE, _INITIALIZER, _OUTPUT = 1, 5, 12
_NODE_INPUT, _NODE_OUTPUT = 1, 2
_NAME = 1
_DATA_LOCATION = 14  # of TensorProto; 1 is another file


def without_nms(source: Path | bytes) -> Path | bytes:
    """Return a graph that has the output `candidates` with that output alone; any other graph, or file, as it is.

    Args:
        source: an ONNX file, or a file's content.
    """
    try:
        if isinstance(source, bytes):
            return _cut(memoryview(source)) or source
        with mapped_file(source) as content:
            return _cut(content) or source
    except (OSError, ValueError):  # ONNX Runtime says what is wrong with it
        return source


def _cut(content: memoryview) -> bytes | None:
    """Return the smaller model; None where there is no such output, or weights lie in other files."""
    (graph,) = read_spans(content, None, _GRAPH)
    outputs = [_names(content, span, _NAME)[0] for span in read_spans(content, graph, _OUTPUT)]
    weights = read_spans(content, graph, _INITIALIZER)
    if CANDIDATES not in outputs or any(dict(read_fields(content, span)).get(_DATA_LOCATION) for span in weights):
        return None
    needed, unused = {CANDIDATES}, set()
    for span in reversed([*read_spans(content, graph, _NODE)]):  # a node comes after those that it reads
        names = _names(content, span, _NODE_OUTPUT)
        # A detector's own nodes stay: their subgraphs may read more than their inputs.
        if needed.isdisjoint(names) and all(name.startswith(_OURS) or name in outputs for name in names):
            unused.add(span)
        else:
            needed.update(_names(content, span, _NODE_INPUT))
    parts = []
    for number, value in read_fields(content, graph):
        if number == _OUTPUT and isinstance(value, tuple) and _names(content, value, _NAME) != [CANDIDATES]:
            continue
        if value not in unused:
            parts.append(copy_field(content, number, value))
    smaller = write_field(_GRAPH, b"".join(parts))
    return b"".join(
        smaller if number == _GRAPH else copy_field(content, number, value) for number, value in read_fields(content)
    )


def _names(content: memoryview, span: Span, number: int) -> list[str]:
    return [read_text(content, name) for name in read_spans(content, span, number)]
