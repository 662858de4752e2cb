"""Count the multiply-adds of a TensorRT network, by precision."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

PRECISIONS = {"INT8": "int8", "HALF": "fp16", "FLOAT": "fp32"}


def multiply_adds(api: Any, network: Any) -> dict[str, int]:
    """Return the multiply-adds of convolutions, transposed convolutions and matrix products, as "int8", "fp16", "fp32".

    An operator behind DequantizeLinear counts as int8. All shapes must be known, so that inputs have one shape alone.
    """
    counted = Counter[str]()
    for precision, count in products(api, network).values():
        counted[precision] += count
    return dict(counted)


def products(api: Any, network: Any) -> dict[str, tuple[str, int]]:
    """Return precision and multiply-adds of each product, as `multiply_adds` counts them, by its layer's name."""
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    producers = {layer.get_output(index).name: layer.type for layer in layers for index in range(layer.num_outputs)}
    found = {}
    for layer in layers:
        if count := _count(api, layer):
            read = layer.get_input(0)
            int8 = producers.get(read.name) == api.LayerType.DEQUANTIZE
            found[layer.name] = "int8" if int8 else PRECISIONS[read.dtype.name], count
    return found


def _count(api: Any, layer: Any) -> int:
    kind, kinds = layer.type, api.LayerType
    if kind == kinds.MATRIX_MULTIPLY:
        layer.__class__ = api.IMatrixMultiplyLayer
        axis = -2 if layer.op0 == api.MatrixOperation.TRANSPOSE else -1
        return int(math.prod(layer.get_output(0).shape) * layer.get_input(0).shape[axis])
    if kind not in (kinds.CONVOLUTION, kinds.DECONVOLUTION):
        return 0
    layer.__class__ = api.IConvolutionLayer if kind == kinds.CONVOLUTION else api.IDeconvolutionLayer
    values, maps = layer.get_input(0).shape, layer.get_output(0).shape
    window = math.prod(layer.kernel_size_nd)
    channels = maps[1] * values[1] // layer.num_groups
    positions = maps[2:] if kind == kinds.CONVOLUTION else values[2:]
    return int(math.prod(positions) * channels * window * values[0])
