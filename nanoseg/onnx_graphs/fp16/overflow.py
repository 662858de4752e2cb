"""How near real pictures bring a network's activations to the largest number that float16 knows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper

from nanoseg.errors import SourceError
from nanoseg.onnx_graphs.fp16.keep_fp32 import LARGEST
from nanoseg.onnx_graphs.fp16.to_fp16 import network_name, tensor_types
from nanoseg.onnx_graphs.model.nodes import node_key
from nanoseg.onnx_graphs.model.nodes import node_inputs
from nanoseg.onnx_graphs.model.run import Session

# A picture that nobody measured may reach this many times further.
MARGIN = 4.0


class Peak(NamedTuple):
    """The largest number that a layer gave."""

    layer: str  # the node's key
    op: str
    peak: float  # |activation|; infinity for one that is not finite
    headroom: float  # how many times larger float16 could hold it


def measure_peaks(model: onnx.ModelProto, feeds: Iterable[Mapping[str, np.ndarray]]) -> list[Peak]:
    """The peak of every node with float32 outputs over all `feeds`, one run each; least headroom first.

    The network itself reduces each tensor to two numbers as soon as it is there, so that memory is a single run's.
    Raises BundleError for a network that does not run, SourceError where there are no feeds.
    """
    floats = {name for name, dtype in tensor_types(model).items() if dtype == TensorProto.FLOAT}
    nodes = [node for node in model.graph.node if floats.intersection(node.output)]
    tensors = [name for node in nodes for name in node.output if name in floats]
    session = Session(_watched(model, tensors), network_name(model), frees_early=True)
    wanted = [_name(tensor, op) for tensor in tensors for op in ("ReduceMax", "ReduceMin")]
    found = dict.fromkeys(tensors, 0.0)
    count = 0
    for feed in feeds:
        ends = np.abs(np.array(list(session(wanted, feed).values()), np.float64)).reshape(-1, 2).max(1)
        for tensor, end in zip(tensors, np.where(np.isfinite(ends), ends, np.inf).tolist(), strict=True):
            found[tensor] = max(found[tensor], end)
        count += 1
    if not count:
        raise SourceError(f"{network_name(model)}: wanted at least one picture to measure activations on, got none")
    measured = []
    for node in nodes:
        peak = max(found[name] for name in node.output if name in floats)
        measured.append(Peak(node_key(node), node.op_type, peak, LARGEST / peak if peak else np.inf))
    return sorted(measured, key=lambda each: each.headroom)


def overflow_nodes(model: onnx.ModelProto, measured: Sequence[Peak], margin: float = MARGIN) -> set[str]:
    """Keys of the nodes that must stay float32: those with less headroom than `margin`, and all that read of them."""
    makers = {peak.layer for peak in measured if peak.headroom < margin}
    tensors = {name for node in model.graph.node if node_key(node) in makers for name in node.output}
    return makers | {node_key(node) for node in model.graph.node if not tensors.isdisjoint(node_inputs(node))}


def _watched(model: onnx.ModelProto, tensors: Sequence[str]) -> onnx.ModelProto:
    """The network with the largest and the smallest number of each tensor as its outputs."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    graph = watched.graph
    del graph.node[:], graph.output[:], graph.value_info[:]
    for node in model.graph.node:
        graph.node.append(node)
        for tensor in filter(set(tensors).__contains__, node.output):
            for op in ("ReduceMax", "ReduceMin"):
                graph.node.append(helper.make_node(op, [tensor], [_name(tensor, op)], keepdims=0))
                graph.output.append(helper.make_tensor_value_info(_name(tensor, op), TensorProto.FLOAT, []))
    return watched


def _name(tensor: str, op: str) -> str:
    return f"{tensor}/{op}"
