"""An ONNX file that anybody wrote -> the same network in the operators of opset 19."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, inliner, numpy_helper, version_converter

from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.model.builder import IR_VERSION, OPSET, GraphBuilder
from nanoseg.onnx_graphs.model.shapes import dtype_of, some_feeds

# The one domain of ONNX has two names.
ONNX_DOMAINS = ("", "ai.onnx")
# Resize had no say about coordinates before: they were asymmetric.
RESIZE_CHANGED = 11
ALIKE = 1e-2  # of the answer's size
# After opset 19 they mean something else under the same name, or lost it.
CHANGED_LATER = frozenset({"DFT", "GridSample", "GroupNormalization"})
# TensorRT's plugins are in no domain of their own, and NonMaxSuppression is what others end with.
NMS = ("EfficientNMS", "BatchedNMS", "NonMaxSuppression", "NMS_TRT", "TRT_NMS")
WITHOUT_NMS = (
    "export it without: super-gradients' model.export(..., postprocessing=False), Ultralytics' nms=False; "
    "or name the tensors before it in --detector-form"
)


def read_model(path: str | Path) -> onnx.ModelProto:
    """The file as it is, weights beside it included; raises BundleError where it is no whole ONNX model."""
    path = Path(path)
    if not path.is_file():
        raise BundleError(f"{path}: no such file; export the network first")
    try:
        model = onnx.load(path)
        if not all(value.type.tensor_type.HasField("shape") for value in model.graph.output):
            model = onnx.shape_inference.infer_shapes(model)  # the check below wants some
        # A file with half its bytes can still parse. One with a plugin would not pass: it goes with what is pruned.
        if not has_nms(model):
            onnx.checker.check_model(model)
    except Exception as error:  # onnx raises protobuf's errors, which are nobody's public API
        raise BundleError(f"{path}: wanted an ONNX model, got {first_line(error)}") from error
    # Exporters used to list weights among the inputs, too, as the first versions of ONNX wanted it.
    weights = {weight.name for weight in model.graph.initializer}
    for value in [value for value in model.graph.input if value.name in weights]:
        model.graph.input.remove(value)
    return model


def has_nms(model: onnx.ModelProto) -> list[str]:
    """Its operators that suppress boxes; nanoseg has its own, exact and without shapes that depend on data."""
    return sorted({node.op_type for node in model.graph.node if any(name in node.op_type for name in NMS)})


def in_our_opset(path: Path, model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network in opset 19, functions inlined; raises BundleError for operators that it does not have."""
    if nms := has_nms(model):
        raise BundleError(f"{path}: wanted boxes and scores as the network gives them, got {nms[0]}; {WITHOUT_NMS}")
    own = {function.domain for function in model.functions}
    if foreign := {node.domain for node in model.graph.node} - {*ONNX_DOMAINS} - own:
        raise BundleError(f"{path}: wanted operators of ONNX alone, got some of {', '.join(sorted(foreign))}")
    version = max((entry.version for entry in model.opset_import if entry.domain in ONNX_DOMAINS), default=0)
    told = list(model.metadata_props)
    came: onnx.ModelProto | None = None
    try:
        if model.functions:
            model = inliner.inline_local_functions(model)
        if 0 < version < OPSET:
            came, model = model, version_converter.convert_version(model, OPSET)
    except Exception as error:  # as above
        raise BundleError(f"{path}: cannot be brought to opset {OPSET}: {first_line(error)}") from error
    if came is not None:
        if version < RESIZE_CHANGED:
            _keep_asymmetric(model.graph)
        _check_answers(path, came, model)
    if version > OPSET:
        _spell_out_gelu(model)
        if unknown := sorted({node.op_type for node in _all_nodes(model.graph) if not _known(node)}):
            raise BundleError(
                f"{path}: wanted opset {OPSET} or less, got {version} with {', '.join(unknown)}; "
                f"export it with opset {OPSET}"
            )
    elif not version:
        raise BundleError(f"{path}: wanted opset {OPSET} or less, got none; export it anew")
    del model.opset_import[:], model.metadata_props[:]
    model.metadata_props.extend(told)  # the converter forgets them
    model.opset_import.add(domain="", version=OPSET)
    model.ir_version = IR_VERSION
    return model


def first_line(error: BaseException) -> str:
    """What a library's error begins with."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _known(node: onnx.NodeProto) -> bool:
    """Whether opset 19 has this node, meaning the same; later opsets mostly allow further types only."""
    # Written out by some exporters, with the value of a network that does not use them.
    for unused in [a for a in node.attribute if a.name in ("block_size", "output_dtype") and a.i == 0]:
        node.attribute.remove(unused)
    try:
        schema = onnx.defs.get_schema(node.op_type, OPSET, "")
    except onnx.defs.SchemaError:
        return False
    return (
        node.op_type not in CHANGED_LATER
        and len(node.input) <= schema.max_input
        and {attribute.name for attribute in node.attribute} <= set(schema.attributes)
    )


def _all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _all_nodes(inner)


def _keep_asymmetric(graph: onnx.GraphProto) -> None:
    """Let Resize mean what Upsample and it meant before opset 11: the converter leaves it the new defaults."""
    tensors = {weight.name: weight for weight in graph.initializer}
    tensors |= {
        node.output[0]: attribute.t
        for node in graph.node
        for attribute in node.attribute
        if node.op_type == "Constant" and attribute.name == "value"
    }
    for node in _all_nodes(graph):
        if node.op_type == "Resize":
            told = tensors.get(node.input[2]) if len(node.input) > 2 else None
            shrinks = told is not None and bool((numpy_helper.to_array(told) < 1).any())
            node.attribute.append(helper.make_attribute("coordinate_transformation_mode", "asymmetric"))
            # Nobody wrote down what "nearest" was; this is how ONNX Runtime has it.
            node.attribute.append(helper.make_attribute("nearest_mode", "ceil" if shrinks else "floor"))


def _check_answers(path: Path, came: onnx.ModelProto, lifted: onnx.ModelProto) -> None:
    """Raise BundleError where the lifted network gives something else for noise; onnx's converter has such cases."""
    from nanoseg.onnx_graphs.model.run import run_model  # not above: it needs this module

    try:
        feeds = some_feeds(came)
        wanted, got = run_model(came, feeds), run_model(lifted, feeds)
    except BundleError:
        return  # one of them does not run, with sides as noise has them; what cannot be run is told later
    for name, want in wanted.items():
        if want.shape != got[name].shape or not _alike(want, got[name]):
            raise BundleError(
                f"{path}: '{name}' is another one in opset {OPSET} than in the file's own; export it with opset {OPSET}"
            )


def _alike(want: np.ndarray, got: np.ndarray) -> bool:
    """Whether they differ by less than a hundredth, on the whole: a single number of Q/DQ may fall to either side."""
    finite = np.isfinite(want) & np.isfinite(got)
    a, b = want[finite].astype(np.float64), got[finite].astype(np.float64)
    if not finite.all() and not np.array_equal(np.isfinite(want), np.isfinite(got)):
        return False
    return bool(np.linalg.norm(a - b) <= ALIKE * np.linalg.norm(a) + 1e-6)


def _spell_out_gelu(model: onnx.ModelProto) -> None:
    """Gelu, new in opset 20, as the operators that it stands for in ONNX's own definition."""
    graph = model.graph
    if not any(node.op_type == "Gelu" for node in graph.node):
        return
    known = onnx.shape_inference.infer_shapes(model).graph
    types = {value.name: dtype_of(value) for value in (*known.input, *known.value_info, *known.output)}
    g = GraphBuilder("nanoseg/gelu")
    for node in graph.node:
        if node.op_type != "Gelu":
            g.nodes.append(node)
            continue
        x = node.input[0]
        kind = helper.tensor_dtype_to_np_dtype(types.get(x) or onnx.TensorProto.FLOAT).type
        if any(attribute.s == b"tanh" for attribute in node.attribute):
            cube = g.add("Mul", x, g.add("Mul", x, x))
            bent = g.add("Add", x, g.add("Mul", cube, kind(0.044715)))
            gate = g.add("Tanh", g.add("Mul", bent, kind(math.sqrt(2 / math.pi))))
        else:
            gate = g.add("Erf", g.add("Div", x, kind(math.sqrt(2))))
        # In this order ONNX Runtime fuses them into one kernel.
        g.add("Mul", g.add("Mul", x, g.add("Add", gate, kind(1))), kind(0.5), name=node.output[0])
    del graph.node[:]
    graph.node.extend(g.nodes)
    graph.initializer.extend(g.constants)
