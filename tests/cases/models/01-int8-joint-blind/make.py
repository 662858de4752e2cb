import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from onnxruntime.quantization import QuantType as Q
from tiny import FORM, quantized

out = Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
(out / "form.toml").write_text(FORM)
quantized(
    out / "d.onnx",
    activation_type=Q.QInt8,
    weight_type=Q.QInt8,
    per_channel=True,
    extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
    op_types_to_quantize=["Conv", "Relu", "Sigmoid", "Reshape", "Concat"],
)
