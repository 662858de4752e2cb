import sys
from pathlib import Path

import onnx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tiny import FORM, tiny

out = Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
(out / "form.toml").write_text(FORM)
from onnxruntime.transformers.float16 import convert_float_to_float16 as c  # noqa: E402

onnx.save(c(onnx.load(tiny(out / "f.onnx")), keep_io_types=True), out / "d.onnx")
