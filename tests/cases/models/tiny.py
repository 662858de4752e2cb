"""Tiny detector like YOLO, with random weights; images -> output0 (1, 7, 400), cxcywh in pixels and 3 probabilities."""

from pathlib import Path

import numpy as np
import onnx
from onnx import helper as h
from onnx import numpy_helper as nh

FORM = '[outputs]\njoint = "output0"\ntransposed = true\nbox_form = "cxcywh"\n'


def tiny(path, opset=17, seed=0):
    r = np.random.default_rng(seed)

    def f(a, n):
        return nh.from_array(np.asarray(a, np.float32), n)

    ini = [
        f(r.normal(0, 0.2, (8, 3, 32, 32)) / 4, "w0"),
        f(r.normal(0, 0.1, 8), "b0"),
        f(r.normal(0, 0.5, (4, 8, 1, 1)), "wb"),
        f(np.zeros(4), "bb"),
        f(r.normal(0, 1.5, (3, 8, 1, 1)), "ws"),
        f(r.normal(-1, 0.5, 3), "bs"),
        f(640, "side"),
        nh.from_array(np.array([1, 4, 400], np.int64), "sb"),
        nh.from_array(np.array([1, 3, 400], np.int64), "ss"),
    ]
    n = [
        h.make_node("Conv", ["images", "w0", "b0"], ["c0"], strides=[32, 32], kernel_shape=[32, 32]),
        h.make_node("Relu", ["c0"], ["r0"]),
        h.make_node("Conv", ["r0", "wb", "bb"], ["cb"], kernel_shape=[1, 1]),
        h.make_node("Conv", ["r0", "ws", "bs"], ["cs"], kernel_shape=[1, 1]),
        h.make_node("Sigmoid", ["cb"], ["gb"]),
        h.make_node("Mul", ["gb", "side"], ["px"]),
        h.make_node("Sigmoid", ["cs"], ["pr"]),
        h.make_node("Reshape", ["px", "sb"], ["boxes3"]),
        h.make_node("Reshape", ["pr", "ss"], ["scores3"]),
        h.make_node("Concat", ["boxes3", "scores3"], ["output0"], axis=1),
    ]
    g = h.make_graph(
        n,
        "tiny",
        [h.make_tensor_value_info("images", 1, (1, 3, 640, 640))],
        [h.make_tensor_value_info("output0", 1, (1, 7, 400))],
        ini,
    )
    onnx.save(h.make_model(g, opset_imports=[h.make_opsetid("", opset)], ir_version=8), path)
    return path


def quantized(out, **k):
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class R(CalibrationDataReader):
        def __init__(self):
            self.i = iter(
                [{"images": np.random.default_rng(i).random((1, 3, 640, 640)).astype(np.float32)} for i in range(3)]
            )

        def get_next(self):
            return next(self.i, None)

    src = tiny(Path(out).with_suffix(".float.onnx"))
    quantize_static(str(src), str(out), R(), quant_format=QuantFormat.QDQ, **k)
