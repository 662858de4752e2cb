"""Let a graph read its weights in the file of another graph that has the same ones."""

from __future__ import annotations

from pathlib import Path

import onnx

from nanoseg.utils.protobuf import mapped_file, read_fields, read_spans, read_text

# Field numbers of onnx.proto's ModelProto, GraphProto and TensorProto.
_GRAPH, _INITIALIZER, _NAME, _RAW_DATA = 7, 5, 8, 9
_MIN_BYTES = 1024  # a reference takes about a hundred


def share_weights(model: onnx.ModelProto, other: Path) -> None:
    """Replace weights of a model, in place, by references to the same bytes in another graph's file beside it.

    ONNX's external data are bytes anywhere in a file, so that the other graph stays a file like any other.
    """
    with mapped_file(other) as content:
        (graph,) = read_spans(content, None, _GRAPH)
        places: dict[str, tuple[int, int]] = {}
        for span in read_spans(content, graph, _INITIALIZER):
            fields = {number: value for number, value in read_fields(content, span) if isinstance(value, tuple)}
            if _NAME in fields and _RAW_DATA in fields:
                places[read_text(content, fields[_NAME])] = fields[_RAW_DATA]
        for weight in model.graph.initializer:
            start, end = places.get(weight.name, (0, 0))
            if end - start < _MIN_BYTES or content[start:end] != weight.raw_data:
                continue
            weight.ClearField("raw_data")
            weight.data_location = onnx.TensorProto.EXTERNAL
            for key, value in (("location", other.name), ("offset", start), ("length", end - start)):
                weight.external_data.add(key=key, value=str(value))
