"""Find the two-way transformer in a mask decoder that nanoseg exported: its tensors and weights.

`nanoseg export mask-decoder`, and the networks that `nanoseg bundle get` fills, keep segment-anything's names of
biases. From these the nodes are followed to the weights, which the exporter reshapes and renames.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from nanoseg.errors import BundleError
from nanoseg.onnx_graphs.model.nodes import node_inputs
from nanoseg.onnx_graphs.model.prune import prune
from nanoseg.onnx_graphs.model.run import run_model

_T = TypeVar("_T")
_LAST = "final_attn_token_to_image.q_proj.bias"


@dataclass(frozen=True, eq=False)
class TokensToImage:
    """An attention of the tokens to the image; the bias of its keys has no effect."""

    queries: str  # (N, T, I), projected, with their bias
    keys: np.ndarray  # (C, I)
    values: np.ndarray  # (C, I)
    values_bias: np.ndarray  # (I,)
    output: str  # (N, T, I), what its output projection reads


@dataclass(frozen=True, eq=False)
class ImageToTokens:
    """An attention of the image to the tokens, and the LayerNorm of the image with its result added."""

    keys: str  # (N, T, I), projected, with their bias
    values: str  # (N, T, I), likewise
    out: np.ndarray  # (I, C)
    out_bias: np.ndarray  # (C,)
    gain: np.ndarray  # (C,)
    shift: np.ndarray  # (C,)
    epsilon: float
    added: str  # (N, X, C), what the LayerNorm reads
    images: str  # (N, X, C), the result


@dataclass(frozen=True, eq=False)
class TwoWay:
    """A two-way transformer of two layers, as far as the image takes part: C channels, I = H * D in the attentions."""

    heads: int
    scale: float  # of queries
    image: str  # (1, X, C), one for all prompts,
    image_columns: str  # (1, C, X), its transpose
    image_bias: np.ndarray  # (C,), which is added to it
    position: np.ndarray  # (X, C), its position encoding
    first_reads: TokensToImage
    first_queries: np.ndarray  # (C, I)
    first_queries_bias: np.ndarray  # (I,)
    first: ImageToTokens
    second_reads: TokensToImage
    second: ImageToTokens
    second_queries: np.ndarray  # (C, I)
    second_queries_bias: np.ndarray  # (I,)
    last_reads: TokensToImage


def find_two_way(decoder: onnx.ModelProto) -> TwoWay | None:
    """Return the transformer of a decoder; None where it is not one of float32 as nanoseg exports it."""
    for weight in decoder.graph.initializer:
        if weight.name.endswith(_LAST) and weight.data_type == TensorProto.FLOAT:
            try:
                return _Finder(decoder, weight.name.removesuffix(_LAST)).two_way()
            except (LookupError, ValueError, BundleError):  # another graph
                return None
    return None


class _Finder:
    """Steps from node to node, which raise LookupError or ValueError where the graph is another."""

    def __init__(self, decoder: onnx.ModelProto, prefix: str) -> None:
        self._decoder, self._prefix = decoder, prefix
        self._weights = {weight.name: weight for weight in decoder.graph.initializer}
        self._producers = {output: node for node in decoder.graph.node for output in node.output}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in decoder.graph.node:
            for name in node_inputs(node):
                self._readers.setdefault(name, []).append(node)

    def two_way(self) -> TwoWay:
        first, second = (self._image_to_tokens(f"layers.{layer}.") for layer in (0, 1))
        # Added to the first layer's images are the position encoding, for keys, and what the tokens give.
        sums = [node for node in self._readers[first.images] if node.op_type == "Add"]
        position = _only({name for node in sums for name in self._not_products(node)} - {first.images})
        shared = self._producers[_only(self._not_products(self._producers[first.added]))]
        image = _only([name for name in shared.input if name not in self._weights])
        queries, queries_bias = self._gemm("layers.0.cross_attn_image_to_token.q_proj.bias")
        scaled = self._after(second.keys, "Reshape", "Transpose", "Mul")
        values = self._after(second.values, "Reshape", "Transpose", "MatMul")
        return TwoWay(
            heads=self._weight(values).shape[0],
            scale=float(self._weight(scaled)),
            image=image,
            image_columns=self._before(image, "Transpose").input[0],
            image_bias=self._weight(shared).ravel(),
            position=self._constant(position),
            first_reads=self._first_tokens_to_image("layers.0.cross_attn_token_to_image."),
            first_queries=queries,
            first_queries_bias=queries_bias,
            first=first,
            second_reads=self._tokens_to_image("layers.1.cross_attn_token_to_image."),
            second=second,
            second_queries=_rows(self._weight(self._after(scaled.output[0], "MatMul"))).T,
            second_queries_bias=self._weight(self._after(scaled.output[0], "Mul")).ravel(),
            last_reads=self._tokens_to_image("final_attn_token_to_image."),
        )

    def _first_tokens_to_image(self, name: str) -> TokensToImage:
        queries = self._after(f"{name}q_proj.bias", "Add").output[0]
        joined = self._before(self._after(f"{name}out_proj.bias", "Add").output[0], "Add", "MatMul").input[0]
        return TokensToImage(queries, self._gemm(f"{name}k_proj.bias")[0], *self._gemm(f"{name}v_proj.bias"), joined)

    def _gemm(self, bias: str) -> tuple[np.ndarray, np.ndarray]:
        """Return weight (C, I) and bias (I,) of a projection of the shared image."""
        node = self._after(bias, "Gemm")
        weight = numpy_helper.to_array(self._weights[node.input[1]])
        transposed = helper.get_node_attr_value(node, "transB") == 1
        return weight.T if transposed else weight, numpy_helper.to_array(self._weights[node.input[2]])

    def _tokens_to_image(self, name: str) -> TokensToImage:
        queries = self._after(f"{name}q_proj.bias", "Add").output[0]
        keys = self._weight(self._after(queries, "Reshape", "Transpose", "Mul", "MatMul"))  # (H, D, C)
        joined = self._before(self._after(f"{name}out_proj.bias", "Add").output[0], "Add", "MatMul").input[0]
        biased = self._before(joined, "Reshape", "Transpose", "Add")
        values = self._weight(self._before(biased.output[0], "Add", "MatMul"))  # (H, C, D)
        by_channel = np.moveaxis(values, 1, 0).reshape(values.shape[1], -1)
        return TokensToImage(queries, _rows(keys).T, by_channel, self._weight(biased).ravel(), joined)

    def _image_to_tokens(self, layer: str) -> ImageToTokens:
        name = f"{layer}cross_attn_image_to_token."
        keys, values = (self._after(f"{name}{each}_proj.bias", "Add").output[0] for each in "kv")
        product = self._after(values, "Reshape", "Transpose", "MatMul")
        out = self._weight(product)  # (H, D, C)
        biased = self._after(product.output[0], "Add")
        bias = self._weight(biased) * out.shape[0]  # each head has its share
        added = self._after(biased.output[0], "Reshape", "MatMul", "Add").output[0]
        norm = self._after(added, "Reshape", "LayerNormalization")
        gain, shift = (numpy_helper.to_array(self._weights[each]) for each in norm.input[1:])
        epsilon: float = helper.get_node_attr_value(norm, "epsilon")
        images = self._after(norm.output[0], "Reshape").output[0]
        return ImageToTokens(keys, values, _rows(out), bias, gain, shift, epsilon, added, images)

    def _after(self, name: str, *operators: str) -> onnx.NodeProto:
        """Return the last of some nodes each of which reads the one before, the first a tensor or a weight."""
        name = f"{self._prefix}{name}" if f"{self._prefix}{name}" in self._weights else name
        for operator in operators:
            node = _only([node for node in self._readers[name] if node.op_type == operator])
            name = node.output[0]
        return node

    def _before(self, name: str, *operators: str) -> onnx.NodeProto:
        """Return the last of some nodes each of which makes what the one before reads, the first a tensor."""
        names = [name]
        for operator in operators:
            made = [self._producers[each] for each in names if each in self._producers]
            node: onnx.NodeProto = _only([node for node in made if node.op_type == operator])
            names = list(node.input)
        return node

    def _not_products(self, node: onnx.NodeProto) -> list[str]:
        """Return the operands that no MatMul makes."""
        made_by = {name: self._producers[name].op_type for name in node.input if name in self._producers}
        return [name for name in node.input if made_by.get(name) != "MatMul"]

    def _weight(self, node: onnx.NodeProto) -> np.ndarray:
        """Return the operand that is a weight."""
        return numpy_helper.to_array(self._weights[_only([name for name in node.input if name in self._weights])])

    def _constant(self, name: str) -> np.ndarray:
        """Return the value of a tensor that depends on no input."""
        if name in self._weights:
            return numpy_helper.to_array(self._weights[name])
        model = onnx.ModelProto()
        model.CopyFrom(self._decoder)
        prune(model, [name])
        if model.graph.input:
            raise LookupError(name)
        return run_model(model, {})[name]


def _only(values: Iterable[_T]) -> _T:
    (value,) = values
    return value


def _rows(by_head: np.ndarray) -> np.ndarray:
    """(H, D, C) -> (I, C)."""
    return by_head.reshape(-1, by_head.shape[-1])
