"""A network as it was exported: read, checked against what the design wants, and made ready to be extended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.model.builder import inputs_of
from nanoseg.onnx_graphs.model.load import in_our_opset, read_model
from nanoseg.onnx_graphs.model.prune import prune, rename, rename_in_nodes
from nanoseg.onnx_graphs.model.shapes import Known, dtype_name, dtype_of, settle, shape_of, spell, with_output_shapes
from nanoseg.onnx_graphs.model.simplify import simplified

# A letter is a fixed side, the same wherever it stands; with "?" it may also vary from call to call.
Sides = tuple[int | str, ...]
Tensors = Mapping[str, Sides]
Contract = tuple[Tensors, Tensors]  # inputs, outputs

DETECTOR: Contract = (
    {"images": (1, 3, "S", "S")},
    {"boxes": (1, "A", 4), "scores": (1, "A", "C")},
)
ENCODER: Contract = ({"image": (1, 3, "E", "E")}, {"image_embeddings": (1, 256, "g", "g")})
DECODER: Contract = (
    {"image_embeddings": (1, 256, "g", "g"), "point_coords": ("N?", "P?", 2), "point_labels": ("N?", "P?")},
    {"low_res_masks": ("N?", "k", "m?", "m?"), "iou_predictions": ("N?", "k")},
)
MASK_DECODER: Contract = (
    {**DECODER[0], "mask_input": ("N?", 1, "m?", "m?"), "has_mask_input": ("N?",)},
    DECODER[1],
)
# Inputs of SAM's own export. Zero means "no mask prompt", which is what the plain decoder computes.
NO_MASK = ("mask_input", "has_mask_input")
# Names that the deployment graphs give to tensors of their own.
_TAKEN = frozenset({"geometry", "confidence", "iou", "class_ids", "count", "unconverged"})


@dataclass(frozen=True, eq=False)
class SourceNetwork:
    """A checked network; `sides` holds the letters of its contract, without those that vary."""

    path: Path
    model: onnx.ModelProto
    sides: Mapping[str, int]

    @property
    def metadata(self) -> dict[str, str]:
        """What the exporter wrote beside the graph."""
        return {entry.key: entry.value for entry in self.model.metadata_props}

    def renamed(self, names: Mapping[str, str]) -> list[onnx.NodeProto]:
        """The nodes, with these tensors renamed."""
        nodes = [onnx.NodeProto() for _ in self.model.graph.node]
        for copy, node in zip(nodes, self.model.graph.node, strict=True):
            copy.CopyFrom(node)
        rename_in_nodes(nodes, names)
        return nodes


def load_network(path: str | Path, contract: Contract, fixed: Sequence[str] = ()) -> SourceNetwork:
    """Read a network and hold it against `contract`, its inputs and outputs.

    Inputs named in `fixed` become zeros, where it has them; a batch that may vary becomes 1. Further outputs are
    dropped, with all that only they need. The model comes back with opset 19. Raises BundleError, naming file and
    tensor, for what does not fit.
    """
    return fit(Path(path), read_model(path), contract, fixed)


def fit(path: Path, model: onnx.ModelProto, contract: Contract, fixed: Sequence[str] = ()) -> SourceNetwork:
    """The same for a model that was read from `path`; the model is changed."""
    inputs, outputs = contract
    _zero_inputs(model, fixed)
    if {value.name for value in model.graph.output} >= outputs.keys():
        try:
            prune(model, list(outputs), keep=inputs)
        except KeyError as error:
            raise BundleError(f"{path}: wanted an ONNX model, got one in which no node makes {error}") from error
    model = in_our_opset(path, model)
    inner = {name for node in model.graph.node for name in node.output} | {w.name for w in model.graph.initializer}
    rename(model, {name: f"network/{name}" for name in (_TAKEN & inner) - outputs.keys()})
    settle(model, {name: _sides_to_settle(shape) for name, shape in inputs.items()})
    sides: dict[str, int] = {}
    _check(path, "input", model.graph.input, inputs, sides)
    free = {name: [at for at, side in enumerate(shape) if str(side).endswith("?")] for name, shape in outputs.items()}
    model = with_output_shapes(path, simplified(model), free)
    _check(path, "output", model.graph.output, outputs, sides)
    return SourceNetwork(path, model, sides)


def in_own_type(nodes: Sequence[onnx.NodeProto], name: str) -> tuple[list[onnx.NodeProto], type[np.generic]]:
    """The nodes, which are changed, with input `name` in the type that they compute in, and that type.

    A network's file takes float32. Where one Cast to float16 is all that reads it, that Cast is left out, so that
    whatever makes the input can hand on float16.
    """
    readers = [node for node in nodes if name in inputs_of(node)]
    if len(readers) == 1 and readers[0].op_type == "Cast":
        (cast,) = readers
        if helper.get_node_attr_value(cast, "to") == TensorProto.FLOAT16:
            rest = [node for node in nodes if node is not cast]
            rename_in_nodes(rest, {cast.output[0]: name})
            return rest, np.float16
    return list(nodes), np.float32


def _zero_inputs(model: onnx.ModelProto, names: Sequence[str]) -> None:
    for value in [value for value in model.graph.input if value.name in names]:
        zeros = np.zeros([side or 1 for side in shape_of(value)], helper.tensor_dtype_to_np_dtype(dtype_of(value)))
        model.graph.initializer.append(numpy_helper.from_array(zeros, value.name))
        model.graph.input.remove(value)


def _sides_to_settle(shape: Sides) -> Known:
    """The sides that a contract wants to be one number, such as a batch of 1."""
    return tuple(side if isinstance(side, int) else None for side in shape)


def _check(path: Path, kind: str, have: Sequence[onnx.ValueInfoProto], want: Tensors, sides: dict[str, int]) -> None:
    found = {value.name: value for value in have}
    if found.keys() != want.keys():
        wanted, got = ", ".join(want), ", ".join(found) or "none"
        raise BundleError(f"{path}: wants the {kind}s {wanted}, got {got}; export it with those names")
    for name, shape in want.items():
        got_shape, dtype = shape_of(found[name]), dtype_of(found[name])
        bound = dict(sides)
        fits = dtype == TensorProto.FLOAT and len(shape) == len(got_shape)
        if not fits or not all(_binds(side, got, bound) for side, got in zip(shape, got_shape, strict=True)):
            known = ", ".join(f"{letter} = {value}" for letter, value in sides.items() if letter in shape)
            raise BundleError(
                f"{path}: '{name}' wants float32 {spell(shape)}{f' with {known}' if known else ''}, "
                f"got {dtype_name(dtype)} {spell(got_shape)}"
            )
        sides.update(bound)


def _binds(want: int | str, got: int | None, sides: dict[str, int]) -> bool:
    if isinstance(want, int):
        return got == want
    if got is None:
        return want.endswith("?")
    return got > 0 and sides.setdefault(want.rstrip("?"), got) == got
