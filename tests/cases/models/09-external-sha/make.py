import sys
from pathlib import Path

import onnx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tiny import FORM, tiny

out = Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
(out / "form.toml").write_text(FORM)
for s in (0, 1):
    d = out / str(s)
    d.mkdir(exist_ok=True)
    onnx.save(
        onnx.load(tiny(out / "f.onnx", seed=s)),
        d / "d.onnx",
        save_as_external_data=True,
        location="d.data",
        size_threshold=0,
    )
