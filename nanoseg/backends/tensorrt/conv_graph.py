"""One convolution whose weights are an INT8 constant behind DequantizeLinear, as ONNX bytes, without onnx.

It is the smallest file that asks a TensorRT the question, on a device where only TensorRT is installed.
"""

from __future__ import annotations

import numpy as np

# onnx.proto: TensorProto.DataType, AttributeProto.AttributeType
_FLOAT, _INT8 = 1, 3
_INT, _INTS = 2, 7
CHANNELS, SIDE_PX = 16, 32
X_SCALE, W_SCALE = 1 / 64, 1 / 1024


def int8_weights() -> np.ndarray:
    """Those of the convolution: (16, 16, 3, 3) int8, to be multiplied by W_SCALE."""
    return np.random.default_rng(0).integers(-127, 128, (CHANNELS, CHANNELS, 3, 3)).astype(np.int8)


def int8_conv_graph() -> bytes:
    """`x` float32 (1, 16, 32, 32), quantized as a detector's activations are -> `y` of the same shape."""
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
            _field(2, "int8_conv"),
            *(_field(5, _tensor(name, value)) for name, value in constants.items()),
            _field(11, _value("x")),
            _field(12, _value("y")),
        )
    )
    # ModelProto: ir_version, opset_import, graph
    return _field(1, 8) + _field(8, _field(2, 17)) + _field(7, graph)


def _node(op: str, inputs: list[str], output: str, **attributes: int | tuple[int, ...]) -> bytes:
    # NodeProto: input, output, op_type, attribute
    body = b"".join(_field(1, name) for name in inputs) + _field(2, output) + _field(3, output) + _field(4, op)
    for name, value in attributes.items():
        one = isinstance(value, int)
        values = _field(3, value) if isinstance(value, int) else b"".join(_field(8, each) for each in value)
        body += _field(5, _field(1, name) + values + _field(20, _INT if one else _INTS))
    return _field(1, body)


def _tensor(name: str, value: np.ndarray) -> bytes:
    # TensorProto: dims, data_type, name, raw_data
    kind = _INT8 if value.dtype == np.int8 else _FLOAT
    dims = b"".join(_field(1, side) for side in value.shape)
    return dims + _field(2, kind) + _field(8, name) + _field(9, value.tobytes())


def _value(name: str) -> bytes:
    # ValueInfoProto: name, type (TypeProto: tensor_type (elem_type, shape (dim (dim_value))))
    shape = b"".join(_field(1, _field(1, side)) for side in (1, CHANNELS, SIDE_PX, SIDE_PX))
    return _field(1, name) + _field(2, _field(1, _field(1, _FLOAT) + _field(2, shape)))


def _field(number: int, value: int | str | bytes) -> bytes:
    """One field of a protocol buffer: a whole number, or bytes after their length."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    raw = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(raw)) + raw


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
