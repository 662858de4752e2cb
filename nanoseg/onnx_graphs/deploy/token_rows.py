"""Compute a decoder's per-token tensors at listed tokens alone: nodes that treat each token by itself, copied."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper

from nanoseg.onnx_graphs.model.builder import GraphBuilder
from nanoseg.onnx_graphs.model.nodes import node_inputs
from nanoseg.onnx_graphs.model.prune import prune
from nanoseg.onnx_graphs.model.run import run_model
from nanoseg.onnx_graphs.model.shapes import random_feeds
from nanoseg.processing.tiles import TILE_TOKENS

# Operators that compute each element, or each row, from those at the same place.
_ELEMENTWISE = frozenset({"Add", "Sub", "Mul", "Div", "Erf", "Gelu", "Relu", "Sqrt", "Reciprocal", "Pow", "Cast"})
_BY_ROW = _ELEMENTWISE | {"MatMul", "LayerNormalization", "Reshape"}
_PROMPTS = 3  # the number of prompts that shapes are measured with: no other first dim of a decoder's


class TokenRows:
    """Copies of the last nodes of a decoder, for tokens (T, 32) of prompts (T,) instead of all tokens of all prompts.

    Each copies a node that computes every token's row by itself and whose result nothing else reads. Where they begin,
    the listed rows are gathered.
    """

    def __init__(
        self,
        g: GraphBuilder,
        decoder: onnx.ModelProto,
        nodes: Sequence[onnx.NodeProto],
        tokens: int,
        last: onnx.NodeProto,
    ) -> None:
        """Find the nodes.

        Args:
            g: the graph to append to, with the inputs `tile_prompts` and `tile_tokens`.
            decoder: the decoder.
            nodes: its nodes, renamed.
            tokens: number of tokens of an image.
            last: the node whose operand is wanted at the tokens.
        """
        self._g, self._tokens = g, tokens
        self._producers = {output: node for node in nodes for output in node.output}
        self._copied: dict[str, str] = {}
        readers: dict[str, list[str]] = {value.name: ["output"] for value in decoder.graph.output}
        for node in nodes:
            for name in node_inputs(node):
                readers.setdefault(name, []).append(node.output[0])
        self._own = {last.output[0]}
        for node in reversed(nodes):
            if node.op_type in (*_BY_ROW, "Transpose") and all(
                reader in self._own for output in node.output for reader in readers.get(output, ["output"])
            ):
                self._own.add(node.output[0])
        own = [node for node in nodes if node.output[0] in self._own and node is not last]
        self._shapes = _shapes(decoder, {name for node in own for name in (*node.input, *node.output)})
        self._index = ""

    def of_tiles(self, name: str) -> str:
        """Return the name of a tensor (N, X * k, C) or (1, X * k, C) at the tokens: (T, 32 * k, C)."""
        if name not in self._copied:
            node = self._producers.get(name)
            copied = None if node is None or node.output[0] not in self._own else self._copy(node)
            self._copied[name] = copied or self._gather(name)
        return self._copied[name]

    def _copy(self, node: onnx.NodeProto) -> str | None:
        """Copy a node for the tokens; None where it mixes rows."""
        shape = self._shapes[node.output[0]]
        if node.op_type == "Reshape":
            source = self._shapes[node.input[0]]
            if len(source) != 3 or len(shape) != 3 or source[0] != shape[0] or not self._is_by_token(node.input[0]):
                return None
            target = np.array([-1, TILE_TOKENS * (shape[1] // self._tokens), shape[2]], np.int64)
            return self._g.add("Reshape", self.of_tiles(node.input[0]), target)
        if node.op_type not in _BY_ROW or (node.op_type == "MatMul" and not self._is_by_token(node.input[0])):
            return None
        inputs = []
        for index, name in enumerate(node.input):
            dims = self._shapes.get(name, ())
            if len(dims) >= 2 and self._is_by_token(name) and not (node.op_type == "MatMul" and index):
                inputs.append(self.of_tiles(name))
            elif len(dims) == 3 and dims[0] == _PROMPTS:
                inputs.append(self._g.add("Gather", name, "tile_prompts"))
            else:
                inputs.append(name)
        attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        return self._g.add(node.op_type, *inputs, **attributes)

    def _is_by_token(self, name: str) -> bool:
        dims = self._shapes.get(name, ())
        return len(dims) in (2, 3) and dims[-2] >= self._tokens and dims[-2] % self._tokens == 0

    def _gather(self, name: str) -> str:
        g, dims = self._g, self._shapes[name]
        rows = g.add("Reshape", name, np.array([-1, dims[-1] * (dims[-2] // self._tokens)], np.int64))
        if len(dims) == 2 or dims[0] == 1:
            found = g.add("Gather", rows, "tile_tokens")
        else:
            if not self._index:
                first = g.add("Mul", "tile_prompts", np.array(self._tokens, np.int32))
                self._index = g.add("Add", "tile_tokens", g.add("Unsqueeze", first, np.array([1], np.int64)))
            found = g.add("Gather", rows, self._index)
        if dims[-2] == self._tokens:
            return found
        return g.add("Reshape", found, np.array([-1, TILE_TOKENS * (dims[-2] // self._tokens), dims[-1]], np.int64))


def _shapes(decoder: onnx.ModelProto, names: set[str]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of some tensors of a decoder for _PROMPTS boxes, by a run: inference does not find them all."""
    weights = {weight.name: tuple(weight.dims) for weight in decoder.graph.initializer}
    model = onnx.ModelProto()
    model.CopyFrom(decoder)
    del model.graph.value_info[:]
    prune(model, sorted(names - weights.keys()))
    feeds = {
        name: value[:, :2] if name.startswith("point_") else value
        for name, value in random_feeds(model, _PROMPTS).items()
    }
    return weights | {name: value.shape for name, value in run_model(model, feeds).items()}
