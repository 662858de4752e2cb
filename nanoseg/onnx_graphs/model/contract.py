"""Model contracts: the inputs and outputs that a network must have, and loading networks that fulfil one."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.model.load import read_model
from nanoseg.onnx_graphs.model.nodes import node_inputs
from nanoseg.onnx_graphs.model.opset import to_supported_opset
from nanoseg.onnx_graphs.model.prune import prune, rename_node_tensors, rename_tensors
from nanoseg.onnx_graphs.model.quantization import check_quantization, fold_constants
from nanoseg.onnx_graphs.model.shapes import (
    Dims,
    dtype_name,
    dtype_of,
    format_shape,
    infer_output_shapes,
    set_input_dims,
    shape_of,
)
from nanoseg.onnx_graphs.model.simplify import simplify

# A letter is a fixed dimension, the same wherever it stands; with "?" it may also be dynamic.
NamedDims = tuple[int | str, ...]
TensorDims = Mapping[str, NamedDims]
Contract = tuple[TensorDims, TensorDims]  # inputs, outputs; all float32

DETECTOR: Contract = (
    {"images": (1, 3, "S", "S")},
    {"boxes": (1, "A", 4), "scores": (1, "A", "C")},
)
# Of a detector of poses: J keypoints of each box, x and y in pixels of the input, and confidence.
POSE_DETECTOR: Contract = (DETECTOR[0], {**DETECTOR[1], "keypoints": (1, "A", "J", 3)})
# Of detectors whose rows have one class each; class ids are whole numbers.
END2END: Contract = (
    {"images": (1, 3, "S", "S")},
    {"boxes": (1, "A", 4), "scores": (1, "A"), "class_ids": (1, "A")},
)
# Metadata of an END2END network: "yes" where its boxes still overlap.
NEEDS_NMS = "needs_nms"
ENCODER: Contract = ({"image": (1, 3, "E", "E")}, {"image_embeddings": (1, 256, "g", "g")})
DECODER: Contract = (
    {"image_embeddings": (1, 256, "g", "g"), "point_coords": ("N?", "P?", 2), "point_labels": ("N?", "P?")},
    {"low_res_masks": ("N?", "k", "m?", "m?"), "iou_predictions": ("N?", "k")},
)
MASK_DECODER: Contract = (
    {**DECODER[0], "mask_input": ("N?", 1, "m?", "m?"), "has_mask_input": ("N?",)},
    DECODER[1],
)
# Inputs of SAM's own export. Zeros mean "no mask prompt", which is what the plain decoder computes.
MASK_INPUTS = ("mask_input", "has_mask_input")
# Tensors that the deployment graphs add under these names.
_RESERVED_NAMES = frozenset({"geometry", "confidence", "iou", "class_ids", "count", "unconverged", "keypoints"})


@dataclass(frozen=True, eq=False)
class SourceNetwork:
    """A network as it was exported, checked against its contract.

    Attributes:
        path: the file that it was read from.
        model: the network in opset 19.
        dims: values of its contract's letters, without those that are dynamic.
    """

    path: Path
    model: onnx.ModelProto
    dims: Mapping[str, int]

    def __repr__(self) -> str:
        return f"SourceNetwork({str(self.path)!r}, {dict(self.dims)})"

    @property
    def metadata(self) -> dict[str, str]:
        """The exporter's metadata, by key."""
        return {entry.key: entry.value for entry in self.model.metadata_props}

    @property
    def is_end2end(self) -> bool:
        """Whether it is a detector of the END2END contract."""
        return {value.name for value in self.model.graph.output} == END2END[1].keys()

    @property
    def needs_nms(self) -> bool:
        """Whether a detector's boxes still overlap; an end-to-end detector mostly suppresses them itself."""
        return not self.is_end2end or self.metadata.get(NEEDS_NMS) == "yes"

    def renamed(self, names: Mapping[str, str]) -> list[onnx.NodeProto]:
        """Return copies of the nodes with some tensors renamed."""
        nodes = [onnx.NodeProto() for _ in self.model.graph.node]
        for copy, node in zip(nodes, self.model.graph.node, strict=True):
            copy.CopyFrom(node)
        rename_node_tensors(nodes, names)
        return nodes


def load_network(path: str | Path, contract: Contract, zero_inputs: Sequence[str] = ()) -> SourceNetwork:
    """Load a network from a file and check it against a contract.

    Outputs beyond the contract are dropped, with all that only they need. A dynamic batch becomes 1.

    Args:
        path: an ONNX file of any opset.
        contract: the inputs and outputs that it must have.
        zero_inputs: names of inputs to replace by zeros, where the network has them.

    Raises:
        BundleError: it does not fulfil the contract; the message names file and tensor.
    """
    return check_network(Path(path), read_model(path), contract, zero_inputs)


def check_network(
    path: Path, model: onnx.ModelProto, contract: Contract, zero_inputs: Sequence[str] = ()
) -> SourceNetwork:
    """Check a model, read from `path`, against a contract as `load_network` does; the model is changed."""
    inputs, outputs = contract
    _replace_by_zeros(model, zero_inputs)
    if {value.name for value in model.graph.output} >= outputs.keys():
        try:
            prune(model, list(outputs), keep=inputs)
        except KeyError as error:
            raise BundleError(f"{path}: wanted an ONNX model, got one in which no node produces {error}") from error
    check_quantization(path, model)
    model = to_supported_opset(path, model)
    fold_constants(model)
    _cast_to_fp32(model, inputs.keys() | outputs.keys())
    inner = {name for node in model.graph.node for name in node.output} | {w.name for w in model.graph.initializer}
    rename_tensors(model, {name: f"network/{name}" for name in (_RESERVED_NAMES & inner) - outputs.keys()})
    set_input_dims(model, {name: _fixed_dims(shape) for name, shape in inputs.items()})
    dims: dict[str, int] = {}
    _check_tensors(path, "input", model.graph.input, inputs, dims)
    dynamic = {
        name: [axis for axis, dim in enumerate(shape) if str(dim).endswith("?")] for name, shape in outputs.items()
    }
    model = infer_output_shapes(path, simplify(model), dynamic)
    _check_tensors(path, "output", model.graph.output, outputs, dims)
    return SourceNetwork(path, model, dims)


def with_native_input_type(nodes: Sequence[onnx.NodeProto], name: str) -> tuple[list[onnx.NodeProto], type[np.generic]]:
    """Let an input have the type that the network computes in.

    A network's file takes float32. Where a Cast to float16 is the only reader of the input, that Cast is removed, so
    that the graph before can produce float16 itself.

    Args:
        nodes: the network's nodes, which are changed.
        name: the input.

    Returns:
        The nodes, and the input's type, float32 or float16.
    """
    readers = [node for node in nodes if name in node_inputs(node)]
    if len(readers) == 1 and readers[0].op_type == "Cast":
        (cast,) = readers
        if helper.get_node_attr_value(cast, "to") == TensorProto.FLOAT16:
            rest = [node for node in nodes if node is not cast]
            rename_node_tensors(rest, {cast.output[0]: name})
            return rest, np.float16
    return list(nodes), np.float32


def _replace_by_zeros(model: onnx.ModelProto, names: Sequence[str]) -> None:
    for value in [value for value in model.graph.input if value.name in names]:
        zeros = np.zeros([dim or 1 for dim in shape_of(value)], helper.tensor_dtype_to_np_dtype(dtype_of(value)))
        model.graph.initializer.append(numpy_helper.from_array(zeros, value.name))
        model.graph.input.remove(value)


def _cast_to_fp32(model: onnx.ModelProto, names: Container[str]) -> None:
    """Give inputs and outputs of the contract float32, in place, where they are float16, by Casts."""
    graph = model.graph
    before, after = list[onnx.NodeProto](), list[onnx.NodeProto]()
    for is_input, values, casts in ((True, graph.input, before), (False, graph.output, after)):
        for value in values:
            dtype = dtype_of(value)
            if value.name not in names or dtype != TensorProto.FLOAT16:
                continue
            outer, inner = value.name, f"network/{value.name}/native"
            rename_node_tensors(graph.node, {outer: inner})
            if is_input:
                casts.append(helper.make_node("Cast", [outer], [inner], name=f"{inner}/Cast", to=dtype))
            else:
                casts.append(helper.make_node("Cast", [inner], [outer], name=f"{inner}/Cast", to=TensorProto.FLOAT))
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    if before or after:
        nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in (*before, *graph.node, *after)]
        del graph.node[:]
        graph.node.extend(nodes)


def _fixed_dims(shape: NamedDims) -> Dims:
    """Return the dims that a contract fixes to a number, such as a batch of 1."""
    return tuple(dim if isinstance(dim, int) else None for dim in shape)


def _check_tensors(
    path: Path, kind: str, have: Sequence[onnx.ValueInfoProto], want: TensorDims, dims: dict[str, int]
) -> None:
    """Check the inputs or outputs and add the values of their letters to `dims`."""
    found = {value.name: value for value in have}
    if found.keys() != want.keys():
        wanted, got = ", ".join(want), ", ".join(found) or "none"
        raise BundleError(f"{path}: wants the {kind}s {wanted}, got {got}; export it with those names")
    for name, shape in want.items():
        got_shape, dtype = shape_of(found[name]), dtype_of(found[name])
        bound = dict(dims)
        fits = dtype == TensorProto.FLOAT and len(shape) == len(got_shape)
        if not fits or not all(_matches(dim, got, bound) for dim, got in zip(shape, got_shape, strict=True)):
            known = ", ".join(f"{letter} = {value}" for letter, value in dims.items() if letter in shape)
            raise BundleError(
                f"{path}: '{name}' wants float32 {format_shape(shape)}{f' with {known}' if known else ''}, "
                f"got {dtype_name(dtype)} {format_shape(got_shape)}"
            )
        dims.update(bound)


def _matches(want: int | str, got: int | None, dims: dict[str, int]) -> bool:
    if isinstance(want, int):
        return got == want
    if got is None:
        return want.endswith("?")
    return got > 0 and dims.setdefault(want.rstrip("?"), got) == got
