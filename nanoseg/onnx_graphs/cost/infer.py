"""Shapes of all tensors of a graph: by inference, and where that leaves some open, by running it on zeros."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, shape_inference

from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.model.run import BASIC, Session
from nanoseg.onnx_graphs.model.shapes import dtype_of, shape_of

_SHAPE = "shape of "


def with_all_shapes(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """Return the model with the shape and type of every tensor declared.

    Args:
        model: the graph, whose inputs have fixed shapes.
        name: for messages.

    Raises:
        BundleError: an input has no fixed shape, or the graph has to be run and does not run.
        DependencyError: it has to be run, and onnxruntime is not installed.
    """
    for value in model.graph.input:
        if None in shape_of(value):
            raise BundleError(f"{name}: '{value.name}' wants fixed dimensions to be counted, got dynamic ones")
    model = shape_inference.infer_shapes(model, data_prop=True)
    known = {each.name: each for each in (*model.graph.value_info, *model.graph.output)}
    made = [each for node in model.graph.node for each in node.output if each]
    unknown = [each for each in made if each not in known or None in shape_of(known[each])]
    if not unknown:
        return model
    shapes = _run(model, unknown, name)
    types = {each: dtype_of(value) for each, value in known.items()}
    kept = [value for value in model.graph.value_info if value.name not in shapes]
    outputs = {value.name: value for value in model.graph.output}
    del model.graph.value_info[:]
    model.graph.value_info.extend(kept)
    for each, shape in shapes.items():
        value = helper.make_tensor_value_info(each, types.get(each, TensorProto.FLOAT), shape)
        if each in outputs:
            outputs[each].CopyFrom(value)
        else:
            model.graph.value_info.append(value)
    return model


def _run(model: onnx.ModelProto, wanted: list[str], name: str) -> dict[str, tuple[int, ...]]:
    """Return the shapes of some tensors; only these leave the graph, so that its tensors are freed early."""
    asking = onnx.ModelProto()
    asking.CopyFrom(model)
    del asking.graph.output[:], asking.graph.value_info[:]
    for each in wanted:
        asking.graph.node.append(helper.make_node("Shape", [each], [_SHAPE + each]))
        asking.graph.output.append(helper.make_tensor_value_info(_SHAPE + each, TensorProto.INT64, [None]))
    feeds = {
        value.name: np.zeros([dim or 0 for dim in shape_of(value)], helper.tensor_dtype_to_np_dtype(dtype_of(value)))
        for value in asking.graph.input
    }
    found = Session(asking, name, BASIC, free_early=True)([_SHAPE + each for each in wanted], feeds)
    return {each: tuple(int(dim) for dim in found[_SHAPE + each]) for each in wanted}
