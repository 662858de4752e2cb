"""Measure activations on real images and find the nodes that come too near to the largest float16 number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper

from nanoseg.errors import SourceError
from nanoseg.onnx_graphs.fp16.keep_fp32 import LARGEST
from nanoseg.onnx_graphs.fp16.to_fp16 import network_name, tensor_types
from nanoseg.onnx_graphs.model.nodes import node_inputs, node_key
from nanoseg.onnx_graphs.model.run import Session

# Least headroom of a float16 layer: other images than the measured ones may have larger activations.
MARGIN = 4.0


class LayerPeak(NamedTuple):
    """The largest activation of one layer."""

    layer: str  # the node's key
    op: str
    peak: float  # largest |activation|; infinity where one is not finite
    headroom: float  # largest float16 number / peak


def measure_peaks(model: onnx.ModelProto, feeds: Iterable[Mapping[str, np.ndarray]]) -> list[LayerPeak]:
    """Return the peak of every node with float32 outputs, least headroom first.

    Every tensor is reduced to its extremes inside the network, so that memory is that of a single run.

    Args:
        model: a network without float16 tensors.
        feeds: its inputs for one image each; the peaks are over all of them.

    Raises:
        BundleError: the network does not run.
        SourceError: there are no feeds.
    """
    floats = {name for name, dtype in tensor_types(model).items() if dtype == TensorProto.FLOAT}
    nodes = [node for node in model.graph.node if floats.intersection(node.output)]
    tensors = [name for node in nodes for name in node.output if name in floats]
    session = Session(_with_extremes(model, tensors), network_name(model), free_early=True)
    wanted = [_extreme_name(tensor, op) for tensor in tensors for op in ("ReduceMax", "ReduceMin")]
    found = dict.fromkeys(tensors, 0.0)
    count = 0
    for feed in feeds:
        extremes = np.abs(np.array(list(session(wanted, feed).values()), np.float64)).reshape(-1, 2).max(1)
        extremes = np.where(np.isfinite(extremes), extremes, np.inf)
        for tensor, extreme in zip(tensors, extremes.tolist(), strict=True):
            found[tensor] = max(found[tensor], extreme)
        count += 1
    if not count:
        raise SourceError(f"{network_name(model)}: wanted at least one image to measure activations on, got none")
    peaks = []
    for node in nodes:
        peak = max(found[name] for name in node.output if name in floats)
        peaks.append(LayerPeak(node_key(node), node.op_type, peak, LARGEST / peak if peak else np.inf))
    return sorted(peaks, key=lambda each: each.headroom)


def overflow_nodes(model: onnx.ModelProto, peaks: Sequence[LayerPeak], margin: float = MARGIN) -> set[str]:
    """Return the keys of the nodes that must stay float32: those with less headroom, and those that read of them."""
    large = {peak.layer for peak in peaks if peak.headroom < margin}
    tensors = {name for node in model.graph.node if node_key(node) in large for name in node.output}
    return large | {node_key(node) for node in model.graph.node if not tensors.isdisjoint(node_inputs(node))}


def _with_extremes(model: onnx.ModelProto, tensors: Sequence[str]) -> onnx.ModelProto:
    """Return the network with the maximum and the minimum of each tensor as its outputs."""
    extended = onnx.ModelProto()
    extended.CopyFrom(model)
    graph = extended.graph
    del graph.node[:], graph.output[:], graph.value_info[:]
    for node in model.graph.node:
        graph.node.append(node)
        for tensor in filter(set(tensors).__contains__, node.output):
            for op in ("ReduceMax", "ReduceMin"):
                graph.node.append(helper.make_node(op, [tensor], [_extreme_name(tensor, op)], keepdims=0))
                graph.output.append(helper.make_tensor_value_info(_extreme_name(tensor, op), TensorProto.FLOAT, []))
    return extended


def _extreme_name(tensor: str, op: str) -> str:
    return f"{tensor}/{op}"
