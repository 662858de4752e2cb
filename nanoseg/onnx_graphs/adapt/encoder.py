"""Adapter for image encoders: inputs and outputs of other names, and pixels in another layout or scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.adapt.detector_spec import EncoderSpec
from nanoseg.onnx_graphs.model.builder import GraphBuilder, tensor_info
from nanoseg.onnx_graphs.model.contract import ENCODER, SourceNetwork, check_network
from nanoseg.onnx_graphs.model.load import read_model
from nanoseg.onnx_graphs.model.prune import prune, rename_tensors
from nanoseg.onnx_graphs.model.shapes import FLOATS, dtype_name, dtype_of, format_shape, shape_of
from nanoseg.processing.geometry import SAM_MEAN, SAM_STD

INPUT, OUTPUT = "image", "image_embeddings"
CHANNELS = 256
ADVICE = 'give input, output, layout and pixels under [encoder] of --detector-spec, such as input = "x"'


def load_encoder(path: str | Path, spec: EncoderSpec | None = None) -> SourceNetwork:
    """Load an image encoder and adapt it to the ENCODER contract, whose input is normalised as SAM's.

    Args:
        path: an ONNX file.
        spec: names, layout and pixels. Without one the only input (1, 3, E, E) and the only output (1, 256, g, g) are
            taken, whatever their names.

    Raises:
        BundleError: the network does not fit; the message names file and tensor.
    """
    path, spec = Path(path), spec or EncoderSpec()
    model = read_model(path)
    names = {value.name for value in model.graph.input}, {value.name for value in model.graph.output}
    if spec == EncoderSpec() and INPUT in names[0] and OUTPUT in names[1]:
        return check_network(path, model, ENCODER)
    source = _choose(path, "input", list(model.graph.input), spec.input, spec.layout)
    output = _choose(path, "output", list(model.graph.output), spec.output, "nchw")
    prune(model, [output])
    inner = {name for node in model.graph.node for name in node.output} | {w.name for w in model.graph.initializer}
    rename_tensors(model, {name: f"encoder/{name}" for name in (*inner, source) if name not in (output,)})
    rename_tensors(model, {output: OUTPUT})
    _add_input_nodes(path, model, f"encoder/{source}", spec)
    return check_network(path, model, ENCODER)


def _choose(path: Path, kind: str, values: list[onnx.ValueInfoProto], name: str | None, layout: str) -> str:
    """Return the name of the input or output: the stated one, else the only one of the right shape."""
    got = ", ".join(f"{value.name} {format_shape(shape_of(value))}" for value in values) or "none"
    if name is not None:
        if name not in {value.name for value in values}:
            raise BundleError(f"{path}: wanted the {kind} {name} of [encoder], got {got}")
        return name
    axis = {"nchw": 1, "nhwc": 3, "hwc": 2}[layout]
    channels, rank = (3 if kind == "input" else CHANNELS), (3 if layout == "hwc" else 4)
    fitting = [
        value.name
        for value in values
        if len(shape_of(value)) == rank and (shape_of(value)[axis] == channels or kind == "output")
    ]
    if len(fitting) > 1:
        fitting = [value.name for value in values if value.name in fitting and shape_of(value)[axis] == channels]
    if len(fitting) != 1 or (kind == "input" and len(values) != 1):
        wanted = "one input, an image (1, 3, E, E)" if kind == "input" else "one output (1, 256, g, g)"
        raise BundleError(f"{path}: wanted {wanted}, got {got}; {ADVICE}")
    return fitting[0]


def _add_input_nodes(path: Path, model: onnx.ModelProto, name: str, spec: EncoderSpec) -> None:
    """Insert, in place, the nodes from `image`, normalised (1, 3, E, E), to the network's input."""
    graph = model.graph
    (value,) = (value for value in graph.input if value.name == name)
    shape, dtype = shape_of(value), dtype_of(value)
    axes = {"nchw": (2, 3), "nhwc": (1, 2), "hwc": (0, 1)}[spec.layout]
    sides = [shape[axis] for axis in axes] if len(shape) == (3 if spec.layout == "hwc" else 4) else [None]
    side = next((dim for dim in sides if dim), spec.size_px)
    if side is None or any(dim not in (None, side) for dim in sides):
        hint = "" if any(sides) else "; give its side, size_px under [encoder] of --detector-spec"
        raise BundleError(
            f"{path}: '{name.removeprefix('encoder/')}' wants a square of one size, got {format_shape(shape)}{hint}"
        )
    if dtype not in (*FLOATS, onnx.TensorProto.UINT8):
        raise BundleError(
            f"{path}: '{name.removeprefix('encoder/')}' wants float32, float16 or uint8, got {dtype_name(dtype)}"
        )
    if dtype == onnx.TensorProto.UINT8 and spec.pixels != "0..255":
        raise BundleError(
            f"{path}: '{name.removeprefix('encoder/')}' is uint8: its normalisation is inside; "
            'write pixels = "0..255" under [encoder] of --detector-spec'
        )
    g, x = GraphBuilder("nanoseg/encoder"), INPUT
    if spec.pixels != "normalised":  # padding, 0 where normalised, becomes the mean, which is normalised to 0 again
        levels = 255.0 if spec.pixels == "0..1" else 1.0
        mean, std = ((np.array(each) / levels).astype(np.float32).reshape(1, 3, 1, 1) for each in (SAM_MEAN, SAM_STD))
        x = g.add("Add", g.add("Mul", x, std), mean)
    if dtype == onnx.TensorProto.UINT8:
        x = g.add("Floor", g.add("Add", x, np.float32(0.5)))
    if spec.layout != "nchw":
        x = g.add("Transpose", x, perm=[0, 2, 3, 1])
    if spec.layout == "hwc":
        x = g.add("Squeeze", x, np.array([0], np.int64))
    if dtype != onnx.TensorProto.FLOAT:
        x = g.add("Cast", x, to=dtype)
    if x == INPUT:
        x = g.add("Identity", x)
    graph.input.remove(value)
    graph.input.append(tensor_info(INPUT, np.float32, (1, 3, side, side)))
    rename_tensors(model, {name: x})
    nodes = [*g.nodes, *graph.node]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:], graph.value_info[:]
    graph.node.extend(copies)
    graph.initializer.extend(g.constants)
