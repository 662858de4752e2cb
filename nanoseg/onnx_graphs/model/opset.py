"""Convert a network of any opset to the operators of opset 19."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, inliner, numpy_helper, version_converter

from nanoseg.errors import BundleError, first_line
from nanoseg.onnx_graphs.model.before_nms import advice_before_nms
from nanoseg.onnx_graphs.model.builder import IR_VERSION, OPSET, GraphBuilder
from nanoseg.onnx_graphs.model.load import nms_operators
from nanoseg.onnx_graphs.model.nodes import all_nodes
from nanoseg.onnx_graphs.model.run import run_model
from nanoseg.onnx_graphs.model.shapes import dtype_of, random_feeds

# The default domain of ONNX has two names.
ONNX_DOMAINS = ("", "ai.onnx")
# Before this opset Resize had no coordinate transformation: it was asymmetric.
RESIZE_CHANGED = 11
TOLERANCE = 1e-2  # of an output's norm
# Operators that changed their meaning, or were removed, after opset 19.
CHANGED_LATER = frozenset({"DFT", "GridSample", "GroupNormalization"})
WITHOUT_NMS = "export it without: super-gradients' model.export(..., postprocessing=False), Ultralytics' nms=False"


def to_supported_opset(path: Path, model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the same network in opset 19, with its functions inlined.

    Args:
        path: the network's file, for messages.
        model: the network, which may be changed.

    Raises:
        BundleError: it has operators of other domains, NMS, or operators that opset 19 lacks, or onnx's converter
            fails or changes its outputs.
    """
    if nms := nms_operators(model):
        advice = f"{WITHOUT_NMS}; {advice_before_nms(model)}"
        raise BundleError(f"{path}: wanted the network's own boxes and scores, got {nms[0]}; {advice}")
    if tensor := _in_bfloat16(model):
        raise BundleError(
            f"{path}: wanted numbers in float32 or float16, got '{tensor}' in bfloat16; export it after model.float()"
        )
    own = {function.domain for function in model.functions}
    if foreign := {node.domain for node in model.graph.node} - {*ONNX_DOMAINS} - own:
        raise BundleError(f"{path}: wanted operators of ONNX alone, got some of {', '.join(sorted(foreign))}")
    version = max((entry.version for entry in model.opset_import if entry.domain in ONNX_DOMAINS), default=0)
    metadata = list(model.metadata_props)
    original: onnx.ModelProto | None = None
    try:
        if model.functions:
            model = inliner.inline_local_functions(model)
        if 0 < version < OPSET:
            original, model = model, version_converter.convert_version(model, OPSET)
    except Exception as error:  # onnx's errors have no public base
        raise BundleError(f"{path}: cannot be converted to opset {OPSET}: {first_line(error)}") from error
    if original is not None:
        if version < RESIZE_CHANGED:
            _keep_resize_asymmetric(model.graph)
        _check_same_outputs(path, original, model)
    if version > OPSET:
        _expand_gelu(model)
        if unknown := sorted({node.op_type for node in all_nodes(model.graph) if not _is_in_opset(node)}):
            raise BundleError(
                f"{path}: wanted opset {OPSET} or less, got {version} with {', '.join(unknown)}; "
                f"export it with opset {OPSET}"
            )
    elif not version:
        raise BundleError(f"{path}: wanted opset {OPSET} or less, got none; export it anew")
    del model.opset_import[:], model.metadata_props[:]
    model.metadata_props.extend(metadata)  # the converter drops them
    model.opset_import.add(domain="", version=OPSET)
    model.ir_version = IR_VERSION
    return model


def _is_in_opset(node: onnx.NodeProto) -> bool:
    """Return whether opset 19 has this node with the same meaning; later opsets mostly allow further types only."""
    # Some exporters write these out with the value that means "unused".
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


def _keep_resize_asymmetric(graph: onnx.GraphProto) -> None:
    """Give Resize the meaning that it and Upsample had before opset 11; the converter leaves the new defaults."""
    tensors = {weight.name: weight for weight in graph.initializer}
    tensors |= {
        node.output[0]: attribute.t
        for node in graph.node
        for attribute in node.attribute
        if node.op_type == "Constant" and attribute.name == "value"
    }
    for node in all_nodes(graph):
        if node.op_type == "Resize":
            scales = tensors.get(node.input[2]) if len(node.input) > 2 else None
            shrinks = scales is not None and bool((numpy_helper.to_array(scales) < 1).any())
            node.attribute.append(helper.make_attribute("coordinate_transformation_mode", "asymmetric"))
            # "nearest" was not specified then; this is ONNX Runtime's behaviour.
            node.attribute.append(helper.make_attribute("nearest_mode", "ceil" if shrinks else "floor"))


def _check_same_outputs(path: Path, original: onnx.ModelProto, converted: onnx.ModelProto) -> None:
    """Raise BundleError where the converted network's outputs for noise differ; onnx's converter has such faults."""
    try:
        feeds = random_feeds(original)
        wanted, got = run_model(original, feeds), run_model(converted, feeds)
    except BundleError:
        return  # one of them does not run with these dims; a network that never runs is reported later
    for name, want in wanted.items():
        if want.shape != got[name].shape or not _are_close(want, got[name]):
            raise BundleError(
                f"{path}: '{name}' in opset {OPSET} differs from that in the file's opset; export it with opset {OPSET}"
            )


def _are_close(want: np.ndarray, got: np.ndarray) -> bool:
    """Compare by norm, within 1 %: a single number behind Q/DQ may be rounded to either side."""
    finite = np.isfinite(want) & np.isfinite(got)
    a, b = want[finite].astype(np.float64), got[finite].astype(np.float64)
    if not finite.all() and not np.array_equal(np.isfinite(want), np.isfinite(got)):
        return False
    return bool(np.linalg.norm(a - b) <= TOLERANCE * np.linalg.norm(a) + 1e-6)


def _expand_gelu(model: onnx.ModelProto) -> None:
    """Replace Gelu, new in opset 20, by the operators of ONNX's own definition."""
    graph = model.graph
    if not any(node.op_type == "Gelu" for node in graph.node):
        return
    inferred = onnx.shape_inference.infer_shapes(model).graph
    types = {value.name: dtype_of(value) for value in (*inferred.input, *inferred.value_info, *inferred.output)}
    g = GraphBuilder("nanoseg/gelu")
    for node in graph.node:
        if node.op_type != "Gelu":
            g.nodes.append(node)
            continue
        x = node.input[0]
        dtype = helper.tensor_dtype_to_np_dtype(types.get(x) or onnx.TensorProto.FLOAT).type
        if any(attribute.s == b"tanh" for attribute in node.attribute):
            cube = g.add("Mul", x, g.add("Mul", x, x))
            inner = g.add("Add", x, g.add("Mul", cube, dtype(0.044715)))
            gate = g.add("Tanh", g.add("Mul", inner, dtype(math.sqrt(2 / math.pi))))
        else:
            gate = g.add("Erf", g.add("Div", x, dtype(math.sqrt(2))))
        # ONNX Runtime fuses the operators in this order into one kernel.
        g.add("Mul", g.add("Mul", x, g.add("Add", gate, dtype(1))), dtype(0.5), name=node.output[0])
    del graph.node[:]
    graph.node.extend(g.nodes)
    graph.initializer.extend(g.constants)


def _in_bfloat16(model: onnx.ModelProto) -> str:
    """Return the name of a tensor in bfloat16, empty where there is none: ONNX Runtime computes nothing in it."""
    for value in (*model.graph.input, *model.graph.output):
        if dtype_of(value) == TensorProto.BFLOAT16:
            return str(value.name)
    for weight in model.graph.initializer:
        if weight.data_type == TensorProto.BFLOAT16:
            return str(weight.name)
    for node in all_nodes(model.graph):
        for attribute in node.attribute:
            is_cast = attribute.name in ("to", "dtype") and attribute.i == TensorProto.BFLOAT16
            if is_cast or attribute.t.data_type == TensorProto.BFLOAT16:
                return str(node.output[0])
    return ""
