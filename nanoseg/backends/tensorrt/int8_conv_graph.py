"""A one-convolution ONNX file with INT8 weights behind DequantizeLinear, encoded without the onnx package.

The smallest graph that shows whether a TensorRT builds such weights, on a device where only TensorRT is installed.
"""

from __future__ import annotations

import numpy as np

from nanoseg.utils.protobuf import write_field

# onnx.proto: TensorProto.DataType, AttributeProto.AttributeType
_FLOAT, _INT8 = 1, 3
_INT, _INTS = 2, 7
CHANNELS, SIDE_PX = 16, 32
X_SCALE, W_SCALE = 1 / 64, 1 / 1024


def int8_weights() -> np.ndarray:
    """Return the convolution's weights: (16, 16, 3, 3) int8, in units of W_SCALE."""
    return np.random.default_rng(0).integers(-127, 128, (CHANNELS, CHANNELS, 3, 3)).astype(np.int8)


def int8_conv_graph() -> bytes:
    """Return an ONNX model: `x` float32 (1, 16, 32, 32), quantized as a detector's activations -> `y`, same shape."""
    constants: dict[str, np.ndarray] = {
        "x_scale": np.array(X_SCALE, np.float32),
        "x_zero": np.array(0, np.int8),
        "w_int8": int8_weights(),
        "w_scale": np.full(CHANNELS, W_SCALE, np.float32),
        "w_zero": np.zeros(CHANNELS, np.int8),
    }
    graph = b"".join(
        (
            _node("QuantizeLinear", ["x", "x_scale", "x_zero"], "x_int8"),
            _node("DequantizeLinear", ["x_int8", "x_scale", "x_zero"], "x_float"),
            _node("DequantizeLinear", ["w_int8", "w_scale", "w_zero"], "w", axis=0),
            _node("Conv", ["x_float", "w"], "y", kernel_shape=(3, 3), pads=(1, 1, 1, 1)),
            write_field(2, "int8_conv"),
            *(write_field(5, _tensor(name, value)) for name, value in constants.items()),
            write_field(11, _value("x")),
            write_field(12, _value("y")),
        )
    )
    # ModelProto: ir_version, opset_import, graph
    return write_field(1, 8) + write_field(8, write_field(2, 17)) + write_field(7, graph)


def _node(op: str, inputs: list[str], output: str, **attributes: int | tuple[int, ...]) -> bytes:
    # NodeProto: input, output, op_type, attribute
    body = (
        b"".join(write_field(1, name) for name in inputs)
        + write_field(2, output)
        + write_field(3, output)
        + write_field(4, op)
    )
    for name, value in attributes.items():
        single = isinstance(value, int)
        values = write_field(3, value) if isinstance(value, int) else b"".join(write_field(8, each) for each in value)
        body += write_field(5, write_field(1, name) + values + write_field(20, _INT if single else _INTS))
    return write_field(1, body)


def _tensor(name: str, value: np.ndarray) -> bytes:
    # TensorProto: dims, data_type, name, raw_data
    data_type = _INT8 if value.dtype == np.int8 else _FLOAT
    dims = b"".join(write_field(1, dim) for dim in value.shape)
    return dims + write_field(2, data_type) + write_field(8, name) + write_field(9, value.tobytes())


def _value(name: str) -> bytes:
    # ValueInfoProto: name, type (TypeProto: tensor_type (elem_type, shape (dim (dim_value))))
    shape = b"".join(write_field(1, write_field(1, side)) for side in (1, CHANNELS, SIDE_PX, SIDE_PX))
    return write_field(1, name) + write_field(2, write_field(1, write_field(1, _FLOAT) + write_field(2, shape)))
