"""Products and sums of an ONNX graph, in as few words as numpy's, for attention whose heads are computed at once."""

from __future__ import annotations

import numpy as np

from nanoseg.onnx_graphs.model.builder import GraphBuilder

Factor = str | np.ndarray  # a tensor's name, or a constant


class Rows(GraphBuilder):
    """A graph of float32 tensors (N, rows, columns). R rows of a prompt's attention are H heads of its T tokens."""

    def __init__(self, heads: int, inner: int) -> None:
        """Prepare for attentions of `inner` channels: the heads have as many each."""
        super().__init__("low_rank")
        self._heads, self._inner = heads, inner
        own = np.kron(np.eye(heads, dtype=np.float32), np.ones(inner // heads, np.float32))
        self._own = own[:, None]  # (H, 1, I): 1 at the channels of a head

    def product(self, first: Factor, second: Factor) -> str:
        """Return the matrix product."""
        return self.add("MatMul", _constant(first), _constant(second))

    def plus(self, first: Factor, second: Factor) -> str:
        """Return the sum."""
        return self.add("Add", _constant(first), _constant(second))

    def times(self, first: Factor, second: Factor) -> str:
        """Return the product of elements."""
        return self.add("Mul", _constant(first), _constant(second))

    def transposed(self, name: str) -> str:
        """(N, A, B) -> (N, B, A)."""
        return self.add("Transpose", name, perm=[0, 2, 1])

    def total(self, name: str) -> str:
        """Return the sums over the last axis, which stays as 1."""
        return self.add("ReduceSum", name, np.array([-1], np.int64), keepdims=1)

    def centred(self, name: str) -> str:
        """Return what is left without the mean over the last axis."""
        return self.add("Sub", name, self.add("ReduceMean", name, np.array([-1], np.int64), keepdims=1))

    def reshaped(self, name: str, *dims: int) -> str:
        """Return another shape; 0 keeps a dim."""
        return self.add("Reshape", name, np.array(dims, np.int64))

    def by_head(self, name: str, scale: float = 1.0) -> str:
        """(N, T, I) -> (N, R, I), scaled, zero outside of each row's own head: products with all heads at once."""
        spread = self.times(self.add("Unsqueeze", name, np.array([1], np.int64)), self._own * scale)
        return self.reshaped(spread, 0, -1, self._inner)

    def joined(self, name: str) -> str:
        """(N, R, I) -> (N, T, I): of each row its own head."""
        own = self.times(self.reshaped(name, 0, self._heads, -1, self._inner), self._own)
        return self.add("ReduceSum", own, np.array([1], np.int64), keepdims=0)

    def softmax_of_tokens(self, logits: str, cells: int) -> str:
        """Return the softmax over the tokens of each head: (N, X, R) of X cells."""
        weights = self.add("Softmax", self.reshaped(logits, 0, cells, self._heads, -1), axis=-1)
        return self.reshaped(weights, 0, cells, -1)


def _constant(value: Factor) -> Factor:
    return value if isinstance(value, str) else np.asarray(value, np.float32)
