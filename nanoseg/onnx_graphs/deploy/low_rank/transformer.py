"""SAM's two-way transformer without the image side of each prompt: the same results by algebra of low rank.

nanoseg.models.transformer makes for each prompt an image of 256 channels, several times over. Here none is made,
because all that a prompt adds to the image E, which all prompts share, comes from its T (about 7) tokens times 8 heads.
With E and V0 centred, that is without the means of their rows:

    after layer 0   image = g0 r0 (E + S0 V0) + c0                    g0, c0: gain and shift of the layer's LayerNorm
    after layer 1   image = g1 r1 (r0 (E' + S0 V0') + S1 V1) + c1     E', V0': g0 E and g0 V0, centred

S0 and S1 (X, R) are weights of attention, of R = 8 T columns; V0 and V1 (R, 256) are what the tokens give. So a product
with the image is one with E plus S0 or S1 times a small matrix, and LayerNorm's factor r follows from Gram matrices:

    256 / r0^2 = |E + S0 V0|^2 = |E|^2 + sum of S0 * (2 E V0^T + S0 V0 V0^T)

What is the same for all of an image's cells, such as a bias, is part of V: the weights of 8 heads sum to 8, so that
each row takes an eighth. E is multiplied by what comes from the tokens, so that no projection of it is made but those
of the first layer. The position encoding is a constant, and so are its projections.

Shapes: N prompts, T tokens, X cells of the image (g * g), C = 256 channels, I = 128 of an attention.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nanoseg.onnx_graphs.deploy.low_rank.rows import Rows
from nanoseg.onnx_graphs.deploy.low_rank.two_way import ImageToTokens, TokensToImage, TwoWay


class Images(NamedTuple):
    """Names of tensors that make up the images of prompts: r1 (r0 E' + weights @ values), without gain and shift."""

    shared: str  # (1, X, C), E'
    first_factors: str  # (N, X, 1), r0
    factors: str  # (N, X, 1), r1
    weights: str  # (N, X, 2 R), r0 S0 beside S1
    values: str  # (N, 2 R, C), V0' above V1


class LowRankTransformer:
    """Nodes that take the place of a transformer's.

    Attributes:
        graph: the nodes and their constants.
        replaced: by the names of tensors of the decoder, what takes their place.
        images: the result, in its parts.
    """

    def __init__(self, net: TwoWay) -> None:
        self._net, (inner, _) = net, net.first.out.shape
        self._cells, self._channels = net.position.shape
        self.graph = Rows(net.heads, inner)
        self.replaced: dict[str, str] = {}
        self._first_layer()
        self.images = self._second_layer()
        self._last_reading(self.images)

    def _first_layer(self) -> None:
        """All prompts read one image; make S0, g0 V0, V0' and r0."""
        g, net, layer = self.graph, self._net, self._net.first
        reads, seen = net.first_reads, net.position + net.image_bias
        keys, queries = (
            g.plus(g.product(net.image, weight), seen @ weight + bias)
            for weight, bias in ((reads.keys, 0), (net.first_queries, net.first_queries_bias))
        )
        logits = g.product(g.by_head(reads.queries, net.scale), g.transposed(keys))
        taken = g.product(g.product(g.add("Softmax", logits, axis=-1), net.image), reads.values)
        self._replace(reads, taken, net.image_bias)
        logits = g.product(queries, g.transposed(g.by_head(layer.keys, net.scale)))
        self._s0 = s0 = g.softmax_of_tokens(logits, self._cells)

        out, bias = _centred(layer.out), _centred(net.image_bias + layer.out_bias)
        gained, gained_bias = _centred(out * layer.gain), _centred(bias * layer.gain)
        given = g.by_head(layer.values)
        v0 = self._values(given, out, bias)
        self._v0, self._centred_v0 = g.times(v0, layer.gain), self._values(given, gained, gained_bias)  # g0 V0, V0'
        # Sums of S0 * (2 E V^T + S0 V V^T), of V0 and of V0', in one product.
        crossed = (
            g.times(v0, np.float32(2)),
            self._values(given, 2 * _centred(gained * layer.gain), 2 * _centred(gained_bias * layer.gain)),
        )
        with_image = g.product(net.image, g.transposed(g.add("Concat", *crossed, axis=1)))
        grams = g.add("Concat", self._gram(v0, v0), self._gram(self._centred_v0, self._centred_v0), axis=2)
        both = g.reshaped(g.plus(g.product(s0, grams), with_image), 0, self._cells, 2, -1)
        both = g.total(g.times(both, g.add("Unsqueeze", s0, np.array([2], np.int64))))  # (N, X, 2, 1)
        added, added_gained = (g.add("Gather", both, np.array(which), axis=2) for which in (0, 1))

        centred = g.centred(net.image)
        self._shared = g.centred(g.times(centred, layer.gain))  # E'
        self._r0 = self._factor(g.plus(self._squares(centred), added), layer)
        self._squares0 = g.plus(self._squares(self._shared), added_gained)

    def _second_layer(self) -> Images:
        g, net, layer, before = self.graph, self._net, self._net.second, self._net.first
        s0, r0, reads = self._s0, self._r0, net.second_reads
        place, r0_columns = net.position + before.shift, g.transposed(r0)
        keys, values, queries = (
            _centred(weight.T * before.gain) for weight in (reads.keys, reads.values, net.second_queries)
        )
        x = g.by_head(reads.queries, net.scale)
        mixed = g.product(x, g.transposed(g.product(self._v0, reads.keys)))
        logits = g.plus(g.product(g.product(x, keys), net.image_columns), g.product(mixed, g.transposed(s0)))
        logits = g.plus(g.times(logits, r0_columns), g.product(x, (place @ reads.keys).T[None]))
        weights = g.times(g.add("Softmax", logits, axis=-1), r0_columns)
        taken = g.product(g.product(weights, net.image), values.T)
        self._replace(
            reads,
            g.plus(taken, g.product(g.product(weights, s0), g.product(self._v0, reads.values))),
            before.shift,
        )

        y = g.by_head(layer.keys, net.scale)
        columns, mixed = g.transposed(y), g.product(y, g.transposed(g.product(self._v0, net.second_queries)))
        logits = g.plus(g.product(net.image, g.transposed(g.product(y, queries))), g.product(s0, g.transposed(mixed)))
        asked = (place @ net.second_queries + net.second_queries_bias)[None]
        s1 = g.softmax_of_tokens(g.plus(g.times(logits, r0), g.product(asked, columns)), self._cells)

        out, bias, given = _centred(layer.out), _centred(before.shift + layer.out_bias), g.by_head(layer.values)
        v1 = self._values(given, out, bias)
        images = g.add("Concat", g.times(s0, r0), s1, axis=2), g.add("Concat", self._centred_v0, v1, axis=1)
        crossed = self._values(given, 2 * _centred(out * before.gain), 2 * _centred(bias * before.gain))
        grams = g.add("Concat", self._gram(g.times(self._centred_v0, np.float32(2)), v1), self._gram(v1, v1), axis=1)
        with_image = g.times(g.product(net.image, g.transposed(crossed)), r0)
        added = g.total(g.times(s1, g.plus(with_image, g.product(images[0], grams))))
        squares = g.plus(g.times(g.times(r0, r0), self._squares0), added)
        return Images(self._shared, r0, self._factor(squares, layer), *images)

    def _last_reading(self, images: Images) -> None:
        g, net, gain = self.graph, self._net, self._net.first.gain
        reads, r0, r1 = net.last_reads, g.transposed(images.first_factors), g.transposed(images.factors)
        keys, values = (_centred(weight.T * net.second.gain) for weight in (reads.keys, reads.values))
        x = g.by_head(reads.queries, net.scale)
        own = g.times(g.product(net.image, g.transposed(g.product(x, _centred(keys * gain)))), images.first_factors)
        mixed = g.product(x, g.transposed(g.product(images.values, keys.T)))
        given = g.product(images.weights, g.transposed(mixed))
        place = ((net.position + net.second.shift) @ reads.keys)[None]
        logits = g.plus(g.times(g.plus(own, given), images.factors), g.product(place, g.transposed(x)))
        logits = g.transposed(logits)
        weights = g.times(g.add("Softmax", logits, axis=-1), r1)
        taken = g.product(g.product(g.times(weights, r0), net.image), _centred(values * gain).T)
        mixed = g.product(g.product(weights, images.weights), g.product(images.values, values.T))
        self._replace(reads, g.plus(taken, mixed), net.second.shift)

    def _replace(self, reads: TokensToImage, taken: str, shift: np.ndarray) -> None:
        """Let an attention of the tokens take (N, R, I) of an image to which `shift` (C,) is added."""
        bias = reads.values_bias + shift @ reads.values
        self.replaced[reads.output] = self.graph.plus(self.graph.joined(taken), bias)

    def _values(self, given: str, out: np.ndarray, bias: np.ndarray) -> str:
        """Return (N, R, C), of which each head's rows have their share of a bias."""
        return self.graph.plus(self.graph.product(given, out), bias / self._net.heads)

    def _gram(self, first: str, second: str) -> str:
        return self.graph.product(first, self.graph.transposed(second))

    def _squares(self, name: str) -> str:
        return self.graph.total(self.graph.times(name, name))

    def _factor(self, squares: str, layer: ImageToTokens) -> str:
        """Return a LayerNorm's factor, of sums of squares, which may be rounded to less than nothing."""
        mean = self.graph.add("Max", self.graph.times(squares, np.array(1 / self._channels)), np.float32(0))
        return self.graph.add("Reciprocal", self.graph.add("Sqrt", self.graph.plus(mean, np.array(layer.epsilon))))


def _centred(x: np.ndarray) -> np.ndarray:
    return np.asarray(x - x.mean(-1, keepdims=True))
