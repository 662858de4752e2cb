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
w = nh.from_array(np.random.default_rng(0).normal(0, 0.03, (256, 3, 16, 16)).astype(np.float32), "w")
onnx.save(
    h.make_model(
        h.make_graph(
            [h.make_node("Conv", ["input_image", "w"], ["image_embeddings"], strides=[16, 16], kernel_shape=[16, 16])],
            "e",
            [h.make_tensor_value_info("input_image", 1, (1, 3, 256, 256))],
            [h.make_tensor_value_info("image_embeddings", 1, (1, 256, 16, 16))],
            [w],
        ),
        opset_imports=[h.make_opsetid("", 17)],
        ir_version=8,
    ),
    out / "e.onnx",
)
