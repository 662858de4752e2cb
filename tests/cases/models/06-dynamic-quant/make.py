import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from onnxruntime.quantization import QuantType as Q
from tiny import FORM, tiny

out = Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
(out / "form.toml").write_text(FORM)
from onnxruntime.quantization import quantize_dynamic  # noqa: E402

quantize_dynamic(str(tiny(out / "f.onnx")), str(out / "d.onnx"), weight_type=Q.QUInt8)
