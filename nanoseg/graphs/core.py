"""A network as it was exported: read, checked against what the design wants, and made ready to be extended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, inliner, numpy_helper, shape_inference, version_converter

from nanoseg.errors import BundleError
from nanoseg.graphs.builder import IR_VERSION, OPSET, build, tensor

# A letter is a fixed side, the same wherever it stands; with "?" it may also vary from call to call.
Sides = tuple[int | str, ...]
Tensors = Mapping[str, Sides]

DETECTOR: tuple[Tensors, Tensors] = (
    {"images": (1, 3, "S", "S")},
    {"boxes": (1, "A", 4), "scores": (1, "A", "C")},
)
ENCODER: tuple[Tensors, Tensors] = ({"image": (1, 3, "E", "E")}, {"image_embeddings": (1, 256, "g", "g")})
DECODER: tuple[Tensors, Tensors] = (
    {"image_embeddings": (1, 256, "g", "g"), "point_coords": ("N?", "P?", 2), "point_labels": ("N?", "P?")},
    {"low_res_masks": ("N?", 4, "m?", "m?"), "iou_predictions": ("N?", 4)},
)
# Inputs of SAM's own export. Zero means "no mask prompt", which is what the plain decoder computes.
NO_MASK = ("mask_input", "has_mask_input")


@dataclass(frozen=True, eq=False)
class Core:
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
        _rename(nodes, names)
        return nodes


def load_core(path: str | Path, contract: tuple[Tensors, Tensors], fixed: Sequence[str] = ()) -> Core:
    """Read a network and hold it against `contract`, its inputs and outputs.

    Inputs named in `fixed` become zeros, where it has them.
    The model comes back with opset 19. Raises BundleError, naming file and tensor, for what does not fit.
    """
    path = Path(path)
    try:
        model = onnx.load(path)
        # A file with half its bytes can still parse.
        onnx.checker.check_model(model)
    except FileNotFoundError:
        raise BundleError(f"{path}: no such file; export the network first") from None
    except Exception as error:  # onnx raises protobuf's errors, which are nobody's public API
        raise BundleError(f"{path}: wanted an ONNX model, got {_first_line(error)}") from error
    model = _modern(path, model)
    _drop_weights(model)
    _zero_inputs(model, fixed)
    sides: dict[str, int] = {}
    _check(path, "input", model.graph.input, contract[0], sides)
    if any(None in _shape(value) for value in model.graph.output):
        model = shape_inference.infer_shapes(model, data_prop=True)
    _check(path, "output", model.graph.output, contract[1], sides)
    return Core(path, model, sides)


def rebuilt(core: Core, name: str, inputs: Tensors, outputs: Tensors) -> onnx.ModelProto:
    """The network alone, cleaned: one opset, no leftovers, inputs and outputs in the contract's order and shape."""
    graph = core.model.graph
    return build(
        name,
        [tensor(key, np.float32, shape) for key, shape in inputs.items()],
        [tensor(key, np.float32, shape) for key, shape in outputs.items()],
        graph.node,
        graph.initializer,
    )


def _modern(path: Path, model: onnx.ModelProto) -> onnx.ModelProto:
    foreign = {node.domain for node in model.graph.node} - {"", "ai.onnx"} - {f.domain for f in model.functions}
    if foreign:
        raise BundleError(f"{path}: wanted operators of ONNX alone, got some of {', '.join(sorted(foreign))}")
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if not versions or max(versions) > OPSET:
        raise BundleError(f"{path}: wanted opset {OPSET} or less, got {max(versions, default='none')}; export it anew")
    try:
        if model.functions:
            model = inliner.inline_local_functions(model)
        if max(versions) < OPSET:
            model = version_converter.convert_version(model, OPSET)
    except Exception as error:  # as above
        raise BundleError(f"{path}: cannot be brought to opset {OPSET}: {_first_line(error)}") from error
    del model.opset_import[:]
    model.opset_import.add(domain="", version=OPSET)
    model.ir_version = IR_VERSION
    return model


def _drop_weights(model: onnx.ModelProto) -> None:
    """Exporters used to list weights among the inputs, too, as the first versions of ONNX wanted it."""
    weights = {weight.name for weight in model.graph.initializer}
    for value in [value for value in model.graph.input if value.name in weights]:
        model.graph.input.remove(value)


def _zero_inputs(model: onnx.ModelProto, names: Sequence[str]) -> None:
    for value in [value for value in model.graph.input if value.name in names]:
        zeros = np.zeros([side or 1 for side in _shape(value)], helper.tensor_dtype_to_np_dtype(_dtype(value)))
        model.graph.initializer.append(numpy_helper.from_array(zeros, value.name))
        model.graph.input.remove(value)


def _check(path: Path, kind: str, have: Sequence[onnx.ValueInfoProto], want: Tensors, sides: dict[str, int]) -> None:
    found = {value.name: value for value in have}
    if found.keys() != want.keys():
        wanted, got = ", ".join(want), ", ".join(found) or "none"
        raise BundleError(f"{path}: wants the {kind}s {wanted}, got {got}; export it with those names")
    for name, shape in want.items():
        got_shape, dtype = _shape(found[name]), _dtype(found[name])
        bound = dict(sides)
        fits = dtype == TensorProto.FLOAT and len(shape) == len(got_shape)
        if not fits or not all(_binds(side, got, bound) for side, got in zip(shape, got_shape, strict=True)):
            known = ", ".join(f"{letter} = {value}" for letter, value in sides.items() if letter in shape)
            raise BundleError(
                f"{path}: '{name}' wants float32 {_spell(shape)}{f' with {known}' if known else ''}, "
                f"got {_dtype_name(dtype)} {_spell(got_shape)}"
            )
        sides.update(bound)


def _binds(want: int | str, got: int | None, sides: dict[str, int]) -> bool:
    if isinstance(want, int):
        return got == want
    if got is None:
        return want.endswith("?")
    return got > 0 and sides.setdefault(want.rstrip("?"), got) == got


def _shape(value: onnx.ValueInfoProto) -> tuple[int | None, ...]:
    sides = value.type.tensor_type.shape.dim
    return tuple(side.dim_value if side.HasField("dim_value") else None for side in sides)


def _dtype(value: onnx.ValueInfoProto) -> int:
    return int(value.type.tensor_type.elem_type)


def _dtype_name(dtype: int) -> str:
    return str(TensorProto.DataType.Name(dtype)).lower().replace("float", "float32" if dtype == 1 else "float")


def _spell(shape: Sequence[int | str | None]) -> str:
    inner = ", ".join("any" if side is None else str(side).replace("?", "") for side in shape)
    return f"({inner})"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _rename(nodes: Sequence[onnx.NodeProto], names: Mapping[str, str]) -> None:
    for node in nodes:
        for values in (node.input, node.output):
            for i, value in enumerate(values):
                values[i] = names.get(value, value)
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                _rename(graph.node, names)
                for output in graph.output:
                    output.name = names.get(output.name, output.name)
