import sys
from pathlib import Path

import onnx
from onnx import helper as h

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tiny import FORM, tiny

out = Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
(out / "form.toml").write_text(FORM)
onnx.save(onnx.load(tiny(out / "f.onnx")), out / "d.onnx")
m = onnx.load(out / "d.onnx")
m.graph.input.append(h.make_tensor_value_info("pixel_mask", 7, (1, 1, 640, 640)))
[n.input.__setitem__(0, "masked") for n in m.graph.node if n.input[0] == "images"]
m.graph.node.insert(0, h.make_node("Mul", ["images", "pm"], ["masked"]))
m.graph.node.insert(0, h.make_node("Cast", ["pixel_mask"], ["pm"], to=1))
onnx.save(m, out / "d.onnx")
(out / "form.toml").write_text('[input]\nname = "images"\n' + FORM)
