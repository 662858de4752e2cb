import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import helper as h
from onnx import numpy_helper as nh

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tiny import FORM

out = Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
(out / "form.toml").write_text(FORM)
n = 300
r = np.random.default_rng(0)
c = r.uniform(0, 500, (n, 2))
t = np.concatenate(
    [c, c + r.uniform(10, 100, (n, 2)), np.sort(r.random((n, 1)), 0)[::-1], r.integers(0, 2, (n, 1))], 1
)[None].astype(np.float32)
g = h.make_graph(
    [
        h.make_node("ReduceMin", ["images"], ["m"], keepdims=0),
        h.make_node("Mul", ["m", "z"], ["o"]),
        h.make_node("Add", ["t", "o"], ["output0"]),
    ],
    "e",
    [h.make_tensor_value_info("images", 1, (1, 3, 640, 640))],
    [h.make_tensor_value_info("output0", 1, (1, n, 6))],
    [nh.from_array(t, "t"), nh.from_array(np.array(0, np.float32), "z")],
)
m = h.make_model(g, opset_imports=[h.make_opsetid("", 17)], ir_version=8)
m.metadata_props.add(key="names", value="{0: 'cat', 1: 'dog'}")
m.metadata_props.add(key="end2end", value="True")
onnx.save(m, out / "d.onnx")
(out / "form.toml").write_text('[outputs]\njoint = "output0"\n')
