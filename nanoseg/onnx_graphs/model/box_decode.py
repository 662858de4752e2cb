"""Which nodes lie after a network's last convolutions: a detector's box decode."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from nanoseg.onnx_graphs.model.builder import inputs_of

CONVOLUTIONS = ("Conv", "ConvTranspose")


def key_of(node: onnx.NodeProto) -> str:
    """A node's first output: unlike its name it is always there, and unique in the graph."""
    key: str = next(name for name in node.output if name)
    return key


def after_convolutions(nodes: Sequence[onnx.NodeProto]) -> set[str]:
    """Keys of the nodes, in running order, that no convolution reads from, however far behind them.

    Those are the decode of boxes and scores, which wants float32 to the end: float16 is half a pixel apart above 512.
    """
    leads_on: set[str] = set()  # tensors that a convolution depends on
    decode = set()
    for node in reversed(nodes):
        if node.op_type in CONVOLUTIONS or leads_on.intersection(node.output):
            leads_on.update(inputs_of(node))
        else:
            decode.add(key_of(node))
    return decode
