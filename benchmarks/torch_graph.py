"""Run an ONNX graph by torch: the operators of nanoseg's deployment graphs, and no others.

Shapes are computed on the host in the first run and kept, so that the second run neither waits nor copies, and can be
captured. The operators are specified at onnx.ai/onnx/operators.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch.nn import functional as F

# Inputs that are parameters, not data: they stay on the host.
PARAMETERS = {
    "Expand": (1,),
    "Pad": (1, 2, 3),
    "ReduceMax": (1,),
    "ReduceMean": (1,),
    "ReduceMin": (1,),
    "ReduceSum": (1,),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "Slice": (1, 2, 3, 4),
    "Squeeze": (1,),
    "TopK": (1,),
    "Unsqueeze": (1,),
}
DTYPES = {
    onnx.TensorProto.FLOAT: torch.float32,
    onnx.TensorProto.FLOAT16: torch.float16,
    onnx.TensorProto.INT32: torch.int32,
    onnx.TensorProto.INT64: torch.int64,
    onnx.TensorProto.UINT8: torch.uint8,
    onnx.TensorProto.BOOL: torch.bool,
}


class TorchGraph:
    """A graph that runs with inputs of one shape; create another TorchGraph of the same model for another."""

    def __init__(self, model: onnx.ModelProto, weights: Weights, device: str) -> None:
        """Share `weights` between graphs of one model."""
        self._nodes, self._device = model.graph.node, torch.device(device)
        self._outputs = [each.name for each in model.graph.output]
        self._weights = weights
        self._host = dict(weights.host)  # and everything computed from constants and shapes alone
        self._moved: dict[str, torch.Tensor] = {}  # copies of the latter on the device

    def __call__(self, feeds: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        values = dict(feeds)
        last = {name: node for node in self._nodes for name in node.input}
        for node in self._nodes:
            if node.output[0] in self._host:
                continue
            on_device = any(name in values for name in node.input) and node.op_type != "Shape"
            arguments = [self._value(node, i, name, values, on_device) for i, name in enumerate(node.input)]
            attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
            operator = OPERATORS.get(node.op_type)
            if operator is None:
                raise NotImplementedError(f"{node.op_type} ({node.name}): not in torch_graph.py")
            results = operator(*arguments, **attributes)
            (values if on_device else self._host).update(
                zip(node.output, results if isinstance(results, tuple) else (results,), strict=False)
            )
            for name in node.input:
                if last[name] is node and name not in self._outputs:
                    values.pop(name, None)  # frees its memory
        return {name: values[name] if name in values else self._move(name) for name in self._outputs}

    def _value(self, node, i, name, values, on_device):
        if not name:
            return None
        if name in values:
            return values[name]
        return self._move(name) if on_device and i not in PARAMETERS.get(node.op_type, ()) else self._host[name]

    def _move(self, name):
        moved = self._weights.moved if name in self._weights.host else self._moved
        if name not in moved:
            moved[name] = self._host[name].to(self._device)
        return moved[name]


class Weights:
    """A model's constants on the host, and copies on the device of those that are computed with."""

    def __init__(self, model: onnx.ModelProto) -> None:
        tensors = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
        self.host = {name: torch.from_numpy(np.array(tensor)) for name, tensor in tensors.items()}
        self.moved: dict[str, torch.Tensor] = {}


def numbers(tensor):
    """Return the values of a parameter, which is on the host."""
    if tensor.is_cuda:
        raise NotImplementedError("a shape depends on the input values")
    return tensor.tolist()


def _reduce(function):
    def reduce(x, axes=None, keepdims=1, noop_with_empty_axes=0):
        if axes is None and noop_with_empty_axes:
            return x
        return function(x, dim=tuple(range(x.ndim)) if axes is None else numbers(axes), keepdim=bool(keepdims))

    return reduce


def _div(a, b):
    return torch.div(a, b, rounding_mode=None if a.is_floating_point() else "trunc")


def _cast(x, to, saturate=1):
    return x.to(DTYPES[to])


def _gather(x, index, axis=0):
    axis %= x.ndim
    flat = torch.where(index < 0, index + x.shape[axis], index).reshape(-1)
    return torch.index_select(x, axis, flat).reshape(*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])


def _gather_nd(x, index, batch_dims=0):
    if not batch_dims:
        return x[tuple(index.unbind(-1))]
    count = x.shape[0]
    if batch_dims != 1:
        raise NotImplementedError("GatherND with several batch dimensions")
    rows = torch.arange(count, device=x.device).reshape(-1, *[1] * (index.ndim - 2)).expand(index.shape[:-1])
    places = (rows, *index.unbind(-1))
    return x[places]


def _reshape(x, shape, allowzero=0):
    dims = [x.shape[i] if dim == 0 and not allowzero else dim for i, dim in enumerate(numbers(shape))]
    return x.reshape(dims)


def _slice(x, starts, ends, axes=None, steps=None):
    starts, ends = numbers(starts), numbers(ends)
    axes = range(len(starts)) if axes is None else numbers(axes)
    steps = [1] * len(starts) if steps is None else numbers(steps)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        assert step > 0
        parts = [slice(None)] * x.ndim
        parts[axis] = slice(*slice(start, end, step).indices(x.shape[axis]))
        x = x[tuple(parts)]
    return x


def _pad(x, pads, value=None, axes=None, mode=b"constant"):
    assert mode == b"constant"
    pads = numbers(pads)
    axes = range(x.ndim) if axes is None else numbers(axes)
    sides = [[0, 0] for _ in range(x.ndim)]
    for i, axis in enumerate(axes):
        sides[axis] = [pads[i], pads[i + len(pads) // 2]]
    return F.pad(x, [n for side in reversed(sides) for n in side], value=0 if value is None else numbers(value))


def _resize(x, roi=None, scales=None, sizes=None, mode=b"nearest", coordinate_transformation_mode=b"half_pixel", **_):
    assert (mode, coordinate_transformation_mode) == (b"linear", b"half_pixel")
    if sizes is None:
        raise NotImplementedError("Resize by scales")
    return F.interpolate(x, numbers(sizes)[-2:], mode="bilinear", align_corners=False)


def _symmetric(x, pads, value=0.0):
    """Return x, padded where necessary, and the padding that is the same on both sides."""
    top, left, bottom, right = pads
    if (top, left) == (bottom, right):
        return x, (top, left)
    return F.pad(x, (left, right, top, bottom), value=value), (0, 0)


def _conv(x, weight, bias=None, group=1, dilations=(1, 1), pads=(0, 0, 0, 0), strides=(1, 1), **_):
    x, padding = _symmetric(x, pads)
    return F.conv2d(x, weight, bias, tuple(strides), padding, tuple(dilations), group)


def _conv_transpose(x, weight, bias=None, group=1, pads=(0, 0, 0, 0), strides=(1, 1), output_padding=(0, 0), **_):
    assert pads[:2] == pads[2:]
    return F.conv_transpose2d(x, weight, bias, tuple(strides), tuple(pads[:2]), tuple(output_padding), group)


def _max_pool(x, kernel_shape, pads=(0, 0, 0, 0), strides=(1, 1), ceil_mode=0, **_):
    x, padding = _symmetric(x, pads, float("-inf"))
    return F.max_pool2d(x, tuple(kernel_shape), tuple(strides), padding, ceil_mode=bool(ceil_mode))


def _gemm(a, b, c=None, alpha=1.0, beta=1.0, transA=0, transB=0):  # noqa: N803
    out = alpha * ((a.T if transA else a) @ (b.T if transB else b))
    return out if c is None else out + beta * c


def _layer_norm(x, scale, bias=None, axis=-1, epsilon=1e-5, stash_type=1):
    return F.layer_norm(x, x.shape[axis:], scale, bias, epsilon)


def _top_k(x, k, axis=-1, largest=1, sorted=1):
    # Of equal values ONNX takes the first, and so does a stable sort; topk does not guarantee it.
    values, index = torch.sort(x, dim=axis, descending=bool(largest), stable=True)
    (count,) = numbers(k)
    return values.narrow(axis, 0, count), index.narrow(axis, 0, count)


def _arg_max(x, axis=0, keepdims=1, select_last_index=0):
    return x.argmax(axis, keepdim=bool(keepdims))


def _squeeze(x, axes=None):
    return x.squeeze() if axes is None else x.squeeze(tuple(numbers(axes)))


def _unsqueeze(x, axes):
    axes = numbers(axes)
    for axis in sorted(axis % (x.ndim + len(axes)) for axis in axes):
        x = x.unsqueeze(axis)
    return x


def _expand(x, shape):
    return x.expand(torch.broadcast_shapes(x.shape, numbers(shape)))


def _constant(value=None, **_):
    return torch.from_numpy(np.array(numpy_helper.to_array(value)))


OPERATORS = {
    "Abs": torch.abs,
    "Add": torch.add,
    "And": torch.logical_and,
    "ArgMax": _arg_max,
    "Cast": _cast,
    "Clip": lambda x, low=None, high=None: torch.clamp(x, low, high),
    "Concat": lambda *parts, axis: torch.cat(parts, axis),
    "Constant": _constant,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Cos": torch.cos,
    "Div": _div,
    "Equal": torch.eq,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Expand": _expand,
    "Floor": torch.floor,
    "Gather": _gather,
    "GatherND": _gather_nd,
    "Gemm": _gemm,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "Identity": torch.clone,
    "Gelu": lambda x, approximate=b"none": F.gelu(x, approximate=approximate.decode()),
    "LayerNormalization": _layer_norm,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "MatMul": torch.matmul,
    "Max": lambda *parts: functools.reduce(torch.maximum, parts),
    "MaxPool": _max_pool,
    "Min": lambda *parts: functools.reduce(torch.minimum, parts),
    "Mul": torch.mul,
    "Not": torch.logical_not,
    "Neg": torch.neg,
    "Or": torch.logical_or,
    "Pad": _pad,
    "Pow": torch.pow,
    "Reciprocal": torch.reciprocal,
    "ReduceMax": _reduce(torch.amax),
    "ReduceMean": _reduce(torch.mean),
    "ReduceMin": _reduce(torch.amin),
    "ReduceSum": _reduce(torch.sum),
    "Relu": torch.relu,
    "Flatten": lambda x, axis=1: x.reshape(math.prod(x.shape[:axis]), -1),
    "Reshape": _reshape,
    "Resize": _resize,
    "Shape": lambda x, start=0, end=None: torch.tensor(x.shape[start:end]),
    "Sigmoid": torch.sigmoid,
    "Sin": torch.sin,
    "Slice": _slice,
    "Softmax": lambda x, axis=-1: torch.softmax(x, axis),
    "Sqrt": torch.sqrt,
    "Squeeze": _squeeze,
    "Sub": torch.sub,
    "Tanh": torch.tanh,
    "TopK": _top_k,
    "Transpose": lambda x, perm: x.permute(perm),
    "Unsqueeze": _unsqueeze,
    "Where": torch.where,
}
